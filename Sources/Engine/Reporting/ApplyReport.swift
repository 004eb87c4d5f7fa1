package import Applying
import ResourceModel
package import Values

extension ApplyEvent {
    /// One line of `--output jsonl`.
    package var document: Value {
        switch self {
        case .planned(let address, let message): Self.document("planned", address, message)
        case .started(let address): Self.document("started", address, "")
        case .succeeded(let address, let message): Self.document("succeeded", address, message)
        case .failed(let address, let message): Self.document("failed", address, message)
        case .skipped(let address, let message): Self.document("skipped", address, message)
        case .rolledBack(let address, let message): Self.document("rolledBack", address, message)
        case .stale(let address, let message): Self.document("stale", address, message)
        case .unneeded(let address): Self.document("unneeded", address, "is as declared already")
        case .unplanned(let address, let message): Self.document("unplanned", address, message)
        case .drifted(let address, let message): Self.document("drifted", address, message)
        case .summary(let summary):
            [
                "type": "summary",
                "message": .string(summary.sentence),
                "planned": .int(Int64(summary.planned)), "succeeded": .int(Int64(summary.succeeded)), "failed": .int(Int64(summary.failed)),
                "skipped": .int(Int64(summary.skipped)), "stale": .int(Int64(summary.stale)), "rolledBack": .int(Int64(summary.rolledBack)),
                "unneeded": .int(Int64(summary.unneeded)), "unplanned": .int(Int64(summary.unplanned)), "drifted": .int(Int64(summary.drifted)),
                "problems": .int(Int64(summary.problems)),
            ]
        }
    }

    /// One line for people; nil for what only scripts want to know.
    package func text(style: Style) -> String? {
        switch self {
        // The comparison, shown before, has named what is stale, unneeded or unplanned.
        case .planned, .started, .stale, .unneeded, .unplanned: nil
        case .succeeded(let address, let message):
            "  \(style.green("✓")) \(Escaping.shown(address.description))\(message.isEmpty ? "" : style.dim("  \(Escaping.shown(message))"))"
        case .failed(let address, let message):
            "  \(style.boldRed("✗")) \(style.bold(Escaping.shown(address.description))): \(style.red("failed"))\n"
                + "      \(Escaping.lines(message, indent: "      "))"
        case .skipped(let address, let message):
            "  \(style.yellow("-")) \(Escaping.shown(address.description)): skipped, \(Escaping.lines(message, indent: "      "))"
        case .rolledBack(let address, let message):
            "  \(style.boldRed("↩")) \(style.bold(Escaping.shown(address.description))): \(style.red("rolled back"))\n"
                + "      \(Escaping.lines(message, indent: "      "))"
        case .drifted(let address, let message):
            "  \(style.boldRed("!")) \(style.bold(Escaping.shown(address.description))): \(style.red("differs again"))\n"
                + "      \(Escaping.lines(message, indent: "      "))"
        case .summary(let summary): "\n\(style.bold("Apply:")) \(summary.sentence)"
        }
    }

    private static func document(_ type: String, _ address: ResourceAddress, _ message: String) -> Value {
        ["type": .string(type), "address": .string(address.description), "message": .string(message)]
    }
}

extension ApplySummary {
    /// `14 succeeded, 0 failed, 0 skipped. Everything is as declared.`
    package var sentence: String {
        var text = "\(succeeded) succeeded, \(failed) failed, \(skipped) skipped"
        if stale > 0 { text += ", \(stale) stale" }
        if rolledBack > 0 { text += ", \(rolledBack) rolled back" }
        if unneeded > 0 { text += ", \(unneeded) no longer needed" }
        if unplanned > 0 { text += ", \(unplanned) not part of the plan" }
        if drifted > 0 { text += ", \(drifted) changed by somebody else meanwhile" }
        if isComplete { return text + ". Everything is as declared." }
        if problems > 0 { text += "; \(problems == 1 ? "1 problem of the plan remains" : "\(problems) problems of the plan remain")" }
        return text + "."
    }
}
