package import Planning
import ResourceModel
import Values

extension Plan {
    /// The plan as people read it: changes grouped by target, then notes, the summary line, and problems last.
    ///
    /// Targets whose changes are the same, word for word, share one group.
    /// - Parameter showsSteps: with each change the commands and requests it consists of, and what is as declared already.
    package func text(style: Style, showsSteps: Bool = false) -> String {
        var sections = changeGroups(style: style, showsSteps: showsSteps)
        if showsSteps, !unchanged.isEmpty {
            sections.append((["As declared already"] + unchanged.map { "  = \(Escaping.shown($0.description))" }).joined(separator: "\n"))
        }
        if !notes.isEmpty {
            sections.append((["Notes"] + notes.map { "  - \(Escaping.lines($0, indent: "    "))" }).joined(separator: "\n"))
        }
        sections.append(summaryLine(style: style))
        if !problems.isEmpty { sections.append(problemsText(style: style)) }
        return sections.joined(separator: "\n\n") + "\n"
    }

    private func changeGroups(style: Style, showsSteps: Bool) -> [String] {
        var bodies: [(body: String, targets: [String])] = []
        var indices: [String: Int] = [:]
        for (target, actions) in Dictionary(grouping: actions, by: \.address.target).sorted(by: { $0.key < $1.key }) {
            let body = actions.map { $0.text(style: style, showsSteps: showsSteps) }.joined(separator: "\n")
            if let index = indices[body] {
                bodies[index].targets.append(target)
            } else {
                indices[body] = bodies.count
                bodies.append((body, [target]))
            }
        }
        return bodies.map { group in
            let names = group.targets.map(Escaping.shown).joined(separator: ", ")
            let heading = group.targets.count == 1 ? style.bold(names) : "\(style.bold(names)) \(style.dim("(\(group.targets.count) targets, each)"))"
            return "\(heading)\n\(group.body)"
        }
    }

    /// `Plan: 1 to create, 4 to update, 2 to delete; 12 unchanged; 1 problem.`
    package func summaryLine(style: Style) -> String {
        let summary = summary
        let problems =
            summary.problems == 0 ? "no problems" : style.boldRed(summary.problems == 1 ? "1 problem" : "\(summary.problems) problems")
        if actions.isEmpty {
            let start = summary.problems == 0 ? style.green("No changes.") : "No changes that could be made."
            return "\(start) \(summary.unchanged) as declared; \(problems)."
        }
        return "\(style.bold("Plan:")) \(summary.create) to create, \(summary.update) to update, \(summary.delete) to delete; "
            + "\(summary.unchanged) unchanged; \(problems)."
    }

    /// Each problem with what it is about, its status and what to do.
    package func problemsText(style: Style) -> String {
        var lines = [style.boldRed(problems.count == 1 ? "Problem" : "Problems")]
        for problem in problems {
            let place = problem.address.map(\.description) ?? problem.target
            let status = problem.status.preventsReading ? style.red(problem.status.rawValue) : style.yellow(problem.status.rawValue)
            lines.append("  ! \(style.bold(Escaping.shown(place))): \(status)\n      \(Escaping.lines(problem.message, indent: "      "))")
        }
        return lines.joined(separator: "\n")
    }
}

extension Action {
    fileprivate func text(style: Style, showsSteps: Bool) -> String {
        let sign =
            switch operation {
            case .create: style.green("+")
            case .update: style.yellow("~")
            case .delete: style.red("-")
            }
        var heading = "  \(sign) \(Escaping.shown(address.resource))"
        if risk != .none { heading += style.boldRed("  (\(risk.rawValue))") }
        var lines = [heading]
        for field in fields {
            lines.append("      \(Escaping.shown(field.path)): \(field.observed.text) → \(style.bold(field.desired.text))")
        }
        if !reason.isEmpty { lines.append("      \(style.dim(Escaping.shown(reason)))") }
        if risk == .disconnecting {
            lines.append("      \(style.dim("may cut the connection: the host undoes it by itself unless it is confirmed over a new connection"))")
        }
        if showsSteps {
            if risk == .disconnecting { lines += undoInWords.map { "      \(style.cyan("$")) \(Escaping.shown($0))" } }
            lines += steps.map { "      \(style.cyan("$")) \(Escaping.shown($0.summary))" }
        }
        return lines.joined(separator: "\n")
    }
}

extension Action {
    /// What is armed before the first step.
    private var undoInWords: [String] {
        steps.reversed().flatMap(\.inverse).map { operation in
            switch operation {
            case .run(let arguments, let input):
                "(armed on the host first) \(arguments.joined(separator: " "))"
                    + (input.map { " with the input: \($0.split(separator: "\n").joined(separator: "; "))" } ?? "")
            case .send(let request): "(armed first) \(request.method) \(request.path)"
            }
        }
    }
}

extension Value? {
    /// A field's value in one line.
    package var text: String {
        switch self {
        case nil: "(none)"
        case .string("")?: "\"\""
        case let value?: Escaping.shortened(value.description, limit: 200)
        }
    }
}
