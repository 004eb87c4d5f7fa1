package import Planning
import ResourceModel
import Values

extension PlanComparison {
    /// What differs between a saved plan and the world, as a diff from what was planned to what would be done now. Empty where nothing does.
    package func text(style: Style) -> String {
        var sections: [String] = []
        if !stale.isEmpty {
            let heading = style.boldRed("Stale: planned, and no longer what would be done")
            sections.append(([heading] + stale.map { $0.text(style: style) }).joined(separator: "\n"))
        }
        if !unneeded.isEmpty {
            let lines = unneeded.map { "  = \(Escaping.shown($0.description))" }
            sections.append((["No longer needed: is as declared already"] + lines).joined(separator: "\n"))
        }
        if !unplanned.isEmpty {
            let lines = unplanned.map { action in
                (["  ? \(Escaping.shown(action.address.description))"] + PlannedChange(action).facts.flatMap(\.self).map { "        \($0)" })
                    .joined(separator: "\n")
            }
            sections.append((["Not part of the plan, so not run: plan again to see it in full"] + lines).joined(separator: "\n"))
        }
        return sections.map { $0 + "\n" }.joined(separator: "\n")
    }
}

extension PlanComparison.Stale {
    fileprivate func text(style: Style) -> String {
        let heading =
            "  \(style.red("≠")) \(style.bold(Escaping.shown(planned.address.description))): \(Escaping.lines(reason, indent: "      "))"
        let before = planned.facts
        let after = now.map { PlannedChange($0).facts } ?? []
        var lines = [heading]
        for (index, facts) in before.enumerated() {
            let new = after.isEmpty ? [] : after[index]
            lines += facts.filter { !new.contains($0) }.map { "      \(style.red("- \($0)"))" }
            lines += new.map { facts.contains($0) ? "        \($0)" : "      \(style.green("+ \($0)"))" }
        }
        return lines.joined(separator: "\n")
    }
}

extension PlannedChange {
    /// What it does, a line a fact, escaped: the operation, the fields, the steps.
    fileprivate var facts: [[String]] {
        [
            [operation.rawValue + (risk == .none ? "" : " (\(risk.rawValue))")],
            fields.map { "\(Escaping.shown($0.path)): \($0.observed.text) → \($0.desired.text)" },
            steps.map { "$ \(Escaping.shown($0))" },
        ]
    }
}
