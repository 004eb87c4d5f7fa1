import Planning
import ResourceModel
import Values

extension PullRequestReport {
    /// How the one line begins that says when it was observed.
    package static let timePrefix = "<sub>Observed "

    /// The first line of each comment.
    package static func marker(site: String) -> String {
        var name = ""
        for scalar in site.unicodeScalars.prefix(200) {
            let isPlain =
                scalar.isASCII && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil || "._/".unicodeScalars.contains(scalar))
            // Two hyphens would end an HTML comment.
            if isPlain { name.unicodeScalars.append(scalar) } else if !name.hasSuffix("-") { name += "-" }
        }
        return name.isEmpty ? "<!-- plumb:report -->" : "<!-- plumb:report \(name) -->"
    }

    /// The report as a comment of a forge.
    ///
    /// - Parameters:
    ///   - site: As in `PullRequestPost`.
    ///   - budget: In bytes, at least 4096. What is too much is left out whole, from the end, and counted.
    ///   - whole: Where all of it is; nil: the command that prints it.
    package func markdown(site: String = "", budget: Int = .max, whole: String? = nil) -> String {
        var page = Page(budget: budget - foot.utf8.count - 1)
        page.start(
            """
            \(Self.marker(site: site))
            ### Plumb: \(headline)

            \(ForeignText.code(head.name, limit: 80))\(head.shortCommit) into \(ForeignText.code(base.name, limit: 80))\(base.shortCommit)

            """
        )
        for section in sections { page.add(section) }
        let body = page.finished(whole: whole.map { ForeignText.code($0) } ?? command)
        return body + (body.hasSuffix("\n\n") ? "" : "\n") + foot
    }

    /// With commits: a branch can be called like something that a shell would run.
    private var command: String {
        let revisions = [base, head].allSatisfy { !$0.commit.isEmpty } ? " --base \(base.commit) --head \(head.commit)" : ""
        return ForeignText.code("plumb report\(revisions)")
    }

    private var foot: String {
        var text = ""
        if let planID {
            let before = basePlanID.map { ", of the base \(ForeignText.code($0))" } ?? ""
            text += "Plan \(ForeignText.code(planID))\(before). Nothing was changed.\n"
        } else {
            text += "Nothing was changed.\n"
        }
        if audience.isForStranger {
            text += "\nThe author has no write permission here: only what the base declares was read and compared.\n"
        }
        if audience.hidesValues { text += "\nWhat is live is not shown, as everybody can read this.\n" }
        return text + "\n\(Self.timePrefix)\(observedAt).</sub>\n"
    }

    private var sections: [Section] {
        if !mistakes.isEmpty {
            let group = Group(of: mistakes) { mistake in
                let place = mistake.path.isEmpty ? "" : "\(ForeignText.code("\(mistake.path):\(mistake.line):\(mistake.column)")): "
                let fix = mistake.fix.isEmpty ? "" : "  - \(ForeignText.code(mistake.fix, limit: 400))\n"
                return "- \(place)\(ForeignText.code(mistake.message, limit: 400))\n\(fix)"
            }
            return [Section("The specs can't be taken as they are", "Nothing was planned.", [group])]
        }
        var sections: [Section] = []
        if baseMistakes > 0 {
            let count = baseMistakes == 1 ? "a mistake" : "\(baseMistakes) mistakes"
            sections.append(Section("The base has \(count)", "Nothing of it is in force, so there is nothing to compare with.", []))
        }
        let reached = targets.filter { $0.operation != .removed }
        if !reached.isEmpty {
            let title = audience.isForStranger ? "Would be contacted after the merge" : "Reached otherwise after the merge"
            let remark = audience.isForStranger ? "None of these was." : "Those that are new were contacted, the others only as the base has them."
            sections.append(Section(title, remark, [Group(of: reached, \.item)]))
        }
        if !problems(.pullRequest).isEmpty {
            sections.append(Section("New problems", "", [Group(of: problems(.pullRequest), \.item)]))
        }
        let nothing = declared.isEmpty ? "Nothing." : "Nothing of what was compared."
        let remark = changes.isEmpty ? nothing : Self.remark(on: changes)
        sections.append(Section("This pull request changes", remark, groups(changes, of: "change", isOpen: changes.count <= 20)))
        if !declared.isEmpty {
            let remark = "As text: whether any of it differs from what is live was not looked at."
            sections.append(Section("Would be declared", remark, byTarget(declared, \.address.target).map(Self.group)))
        }
        if !ended.isEmpty { sections.append(Section("Would be done today, and no longer after the merge", "", [Group(of: ended, \.item)])) }
        if !problems(.ended).isEmpty {
            sections.append(Section("Problems that end with the merge", "", [Group(of: problems(.ended), \.item)]))
        }
        if !problems(.before).isEmpty {
            sections.append(Section("Problems there are already", "", [Group(of: problems(.before), \.item)]))
        }
        if !drifted.isEmpty {
            sections.append(
                Section(
                    "Already drifted",
                    "Not part of this pull request: it differs from the base now.",
                    groups(drifted, of: "difference", isOpen: false)
                )
            )
        }
        if !notes.isEmpty { sections.append(Section("Notes", "", [Group(items: notes.map { "- \(ForeignText.code($0, limit: 400))\n" })])) }
        return sections
    }

    private func problems(_ since: Since) -> [ReportedProblem] { problems.filter { $0.since == since } }

    /// What a risk means, to who has to decide about it.
    private static func remark(on changes: [Change]) -> String {
        changes.contains { $0.risk == .disconnecting }
            ? "**disconnecting**: may cut the connection to the host, which takes it back by itself unless it is confirmed over a new one."
            : ""
    }

    /// One group a target, the riskiest first; targets with the same changes share one.
    private func groups(_ changes: [Change], of what: String, isOpen: Bool) -> [Group] {
        var groups: [(targets: [String], changes: [Change], items: [String])] = []
        var indices: [[String]: Int] = [:]
        for (target, changes) in byTarget(changes, \.address.target) {
            // Sorted stably: within a risk the plan's order stays.
            let sorted = changes.enumerated().sorted { ($1.element.risk, $0.offset) < ($0.element.risk, $1.offset) }.map(\.element)
            let items = sorted.map(\.item)
            if let index = indices[items] {
                groups[index].targets.append(target)
            } else {
                indices[items] = groups.count
                groups.append(([target], sorted, items))
            }
        }
        let risks = groups.map { $0.changes.map(\.risk).max() ?? .none }
        return groups.indices.sorted { (risks[$1], $0) < (risks[$0], $1) }.map { index in
            let group = groups[index]
            var words = group.changes.count == 1 ? "1 \(what)" : "\(group.changes.count) \(what)s"
            if group.targets.count > 1 { words = "\(group.targets.count) targets, each \(words)" }
            for risk in [Risk.disconnecting, .disruptive] {
                let count = group.changes.count { $0.risk == risk }
                if count > 0 { words += ", <b>\(count) \(risk.rawValue)</b>" }
            }
            let names = group.targets.prefix(10).map { ForeignText.htmlCode($0) }.joined(separator: ", ")
            let more = group.targets.count > 10 ? " and \(group.targets.count - 10) more" : ""
            return Group(
                open: "<details\(isOpen || risks[index] == .disconnecting ? " open" : "")><summary>\(names)\(more): \(words)</summary>\n\n",
                items: group.items,
                close: "\n</details>\n\n"
            )
        }
    }

    private static func group(_ target: String, _ declared: [DeclaredDifference]) -> Group {
        Group(
            open:
                "<details><summary>\(ForeignText.htmlCode(target)): \(declared.count == 1 ? "1 resource" : "\(declared.count) resources")</summary>\n\n",
            of: declared,
            close: "\n</details>\n\n",
            \.item
        )
    }

}

extension PullRequestReport.Revision {
    var shortCommit: String { commit.isEmpty || commit == name ? "" : " (\(ForeignText.code(String(commit.prefix(12)))))" }
}

extension PullRequestReport.Change {
    var item: String {
        let warning = risk == .none ? "" : "**\(risk.rawValue)** "
        let why = reason.isEmpty ? "" : "  - \(ForeignText.code(reason, limit: 400))\n"
        return "- \(warning)\(operation.rawValue) \(ForeignText.code(address.resource, limit: 600))\n"
            + lines(fields, of: "fields") { field in
                let (observed, desired) = (ForeignText.code(field.observed.text, limit: 260), ForeignText.code(field.desired.text, limit: 260))
                return "\(ForeignText.code(field.path)): \(observed) → \(desired)"
            } + why
    }
}

extension PullRequestReport.Ended {
    fileprivate var item: String {
        let paths = change.fields.map { ForeignText.code($0.path) }
        let shown = paths.prefix(10).joined(separator: ", ") + (paths.count > 10 ? " and \(paths.count - 10) more" : "")
        return
            "- \(change.operation.rawValue) \(ForeignText.code(change.address.description, limit: 600))\(paths.isEmpty ? "" : " (\(shown))"): \(why)\n"
    }
}

extension PullRequestReport.ReportedProblem {
    var item: String {
        let place = problem.address?.description ?? problem.target
        return "- **\(problem.status.rawValue)** \(ForeignText.code(place, limit: 600)): \(ForeignText.code(problem.message, limit: 600))\n"
    }
}

extension DeclaredField {
    fileprivate var line: String {
        switch (base, head) {
        case (nil, let head): "\(ForeignText.code(path)): \(ForeignText.code(head.text))"
        case (let base?, nil): "\(ForeignText.code(path)): no longer \(ForeignText.code(Value?.some(base).text))"
        case (let base?, let head?):
            "\(ForeignText.code(path)): declared \(ForeignText.code(Value?.some(base).text)), now \(ForeignText.code(Value?.some(head).text))"
        }
    }
}

extension DeclaredDifference {
    fileprivate var item: String {
        "- \(operation.rawValue) \(ForeignText.code(address.resource, limit: 600))\n" + lines(fields, of: "fields", \.line)
    }
}

extension TargetDifference {
    fileprivate var item: String {
        "- \(operation == .added ? "new" : "changed") \(isHost ? "host" : "cluster") \(ForeignText.code(name, limit: 300))\n"
            + lines(fields, of: "fields", \.line)
    }
}
