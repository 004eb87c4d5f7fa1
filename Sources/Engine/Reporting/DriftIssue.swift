package import Planning
package import ResourceModel
import Values

/// What differs from the specs and is not changed by itself, as the one issue of a site says it.
///
/// Text of others stands in code, as in the comment of a pull request. A command that is to be copied is offered only where it is one word for a shell,
/// whatever somebody has called an object.
package struct DriftIssue: Sendable {
    package var revision: PullRequestReport.Revision
    /// Where in the repository the specs are; empty: at its top.
    package var site: String
    /// What is live is not shown: everybody can read it.
    package var hidesValues: Bool
    package var observedAt: Moment
    private let differences: [PullRequestReport.Change]
    private let problems: [PullRequestReport.ReportedProblem]
    /// Whether all that is declared was looked at: what could not be read may differ, too.
    package let isComplete: Bool

    package init(
        revision: PullRequestReport.Revision,
        site: String,
        hidesValues: Bool,
        observedAt: Moment,
        actions: [Action],
        problems: [Problem]
    ) {
        self.revision = revision
        self.site = site
        self.hidesValues = hidesValues
        self.observedAt = observedAt
        let audience = PullRequestReport.Audience(hidesValues: hidesValues)
        differences = actions.map { .init($0, $0.fields, for: audience) }
        self.problems = problems.map { .init($0, .before, for: audience) }
        isComplete = !problems.contains { $0.status.preventsReading }
    }

    /// Of a report in which both revisions are one: what differs has drifted.
    package init(_ report: PullRequestReport, site: String) {
        revision = report.base
        self.site = site
        hidesValues = report.audience.hidesValues
        observedAt = report.observedAt
        differences = report.drifted
        problems = report.problems
        isComplete = report.isComplete
    }

    /// Whether there is something to say. Without, and complete, the issue can be closed.
    package var isOpen: Bool { !differences.isEmpty }

    package var title: String {
        let place = site.isEmpty ? "" : " (\(Escaping.shown(site)))"
        switch differences.count {
        case 0: return "Plumb: all is as declared\(place)"
        case 1: return "Plumb: 1 resource differs from the specs\(place)"
        case let count: return "Plumb: \(count) resources differ from the specs\(place)"
        }
    }

    /// When it was observed, which alone is no reason to say it again.
    package var time: String { "\(PullRequestReport.timePrefix)\(observedAt).</sub>" }

    /// The text without the time.
    ///
    /// - Parameter budget: In bytes, at least 4096. What is too much is left out whole, from the end, and counted.
    package func markdown(budget: Int = .max) -> String {
        let place = "\(ForeignText.code(revision.name, limit: 80))\(revision.shortCommit)"
        let foot = hidesValues ? "What is live is not shown, as everybody can read this.\n" : ""
        guard isOpen else { return "All that \(place) declares is so.\n\n" + foot }
        var page = Page(budget: budget - foot.utf8.count)
        page.start(
            """
            What is live differs from what \(place) declares, and nothing changes it by itself. Each difference has two ways out: make live what is \
            declared (`plumb apply`), or declare what is live (`plumb adopt`, which writes it into the specs of your clone; with `--dry-run` it \
            shows the patch). This text is kept up to date, and the issue is closed when nothing differs any more.


            """
        )
        let groups = byTarget(differences, \.address.target).map { target, differences in
            Group(
                open: "<details open><summary>\(ForeignText.htmlCode(target)): \(Self.count(differences.count))</summary>\n\n",
                items: differences.map { $0.item + ways(out: $0) },
                close: "\n</details>\n\n"
            )
        }
        page.add(Section("Differs", "", groups))
        let unread = problems.filter { $0.problem.status.preventsReading }
        if !unread.isEmpty { page.add(Section("Could not be looked at", "It may differ, too.", [Group(items: unread.map(\.item))])) }
        let others = problems.filter { !$0.problem.status.preventsReading }
        if !others.isEmpty { page.add(Section("Stands in the way", "", [Group(items: others.map(\.item))])) }
        return page.finished(whole: ForeignText.code("plumb plan\(sourceWord ?? "")")) + foot
    }

    private static func count(_ number: Int) -> String { number == 1 ? "1 difference" : "\(number) differences" }

    /// A line for each way, to be copied.
    private func ways(out change: PullRequestReport.Change) -> String {
        let address = change.address.description
        // No secret is copied into specs. By what is declared alone: what is live may be hidden.
        let isSecret = change.fields.contains { field in
            if case .sensitive(_)? = field.desired { true } else { false }
        }
        let adoption =
            switch (change.operation, change.isUndeclared) {
            case (_, true): command("release", address, after: true) ?? "give it up with `plumb release`"
            case (.update, false) where isSecret: "change the specs by hand"
            case (.update, false): command("adopt", address, after: true) ?? "change the specs by hand"
            case (.create, false): "take it out of the specs"
            case (.delete, false): "take out of the specs that it is absent"
            }
        let apply = command("apply", "--target", address, after: false) ?? "`plumb apply` (no shell takes this address as one word)"
        return "  - either \(apply)\n  - or \(adoption)\n"
    }

    private func command(_ words: String..., after sourceIsLast: Bool) -> String? {
        guard let source = sourceWord else { return nil }
        var line = "plumb \(words[0])\(sourceIsLast ? "" : source)"
        for word in words.dropFirst() {
            guard let quoted = Self.shellWord(word) else { return nil }
            line += " \(quoted)"
        }
        line += sourceIsLast ? source : ""
        return line.unicodeScalars.count > 600 ? nil : ForeignText.code(line, limit: 600)
    }

    /// The source as commands take it, with a space before it; empty where it is their default. nil: none that could be written down.
    private var sourceWord: String? {
        switch site {
        case "state": ""
        case "": " ."
        default: Self.shellWord(site).map { " \($0)" }
        }
    }

    /// One word that a shell, and `--target`, take as it is written; nil: there is none.
    private static func shellWord(_ text: String) -> String? {
        guard !text.isEmpty, text.unicodeScalars.count <= 500, !text.unicodeScalars.contains(where: Escaping.isActive) else { return nil }
        // What is a pattern would mean more than this.
        if text.contains(where: { "*?".contains($0) }) { return nil }
        let plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/:@%+=,-"
        if text.unicodeScalars.allSatisfy({ plain.unicodeScalars.contains($0) }) { return text }
        return "'\(text.replacing("'", with: "'\\''"))'"
    }
}
