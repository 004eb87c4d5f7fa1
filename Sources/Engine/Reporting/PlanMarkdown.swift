package import Planning
import ResourceModel
import Values

extension Plan {
    /// The plan for a pull request or a wiki: problems first, then one table a target.
    package var markdown: String {
        let summary = summary
        var lines = [
            "### Plumb plan",
            "",
            "**\(summary.create)** to create, **\(summary.update)** to update, **\(summary.delete)** to delete, "
                + "\(summary.unchanged) unchanged, **\(summary.problems)** \(summary.problems == 1 ? "problem" : "problems")",
            "",
        ]
        if !problems.isEmpty {
            lines += ["#### Problems", "", "| where | status | what |", "|---|---|---|"]
            for problem in problems {
                let place = problem.address.map(\.description) ?? problem.target
                lines.append("| \(Escaping.markdownCode(place)) | \(problem.status.rawValue) | \(Escaping.markdown(problem.message)) |")
            }
            lines.append("")
        }
        for (target, actions) in Dictionary(grouping: actions, by: \.address.target).sorted(by: { $0.key < $1.key }) {
            lines += ["#### \(Escaping.markdown(target))", "", "| | resource | field | observed | desired |", "|---|---|---|---|---|"]
            for action in actions {
                let name = Escaping.markdownCode(action.address.resource) + (action.risk == .none ? "" : " **\(action.risk.rawValue)**")
                for (index, field) in action.fields.enumerated() {
                    let start = index == 0 ? "| \(action.operation.rawValue) | \(name)" : "| |"
                    lines.append(
                        "\(start) | \(Escaping.markdownCode(field.path)) | \(Escaping.markdownCode(field.observed.text)) "
                            + "| \(Escaping.markdownCode(field.desired.text)) |"
                    )
                }
                // What goes as a whole has no fields; why it goes is what a reviewer wants to know.
                if action.fields.isEmpty || action.isUndeclared {
                    let start = action.fields.isEmpty ? "| \(action.operation.rawValue) | \(name)" : "| |"
                    lines.append("\(start) | \(Escaping.markdown(action.reason)) | | |")
                }
            }
            lines.append("")
        }
        if !notes.isEmpty { lines += ["#### Notes", ""] + notes.map { "- \(Escaping.markdown($0))" } + [""] }
        let commit = revision.map { " at " + Escaping.markdownCode($0) } ?? ""
        lines.append("Plan \(Escaping.markdownCode(planID)) of \(Escaping.markdownCode(source))\(commit).")
        return lines.joined(separator: "\n") + "\n"
    }
}
