import Foundation
import Reporting
import Stores
import Values

/// The journal, as people and scripts read it.
struct HistoryReport {
    let style: Style

    // MARK: Text

    func text(of runs: [Run]) -> String {
        if runs.isEmpty { return "No runs yet.\n" }
        let rows = runs.map { run in
            [
                String(run.id), run.start.started.shown, run.took, "\(run.start.caller.user)@\(run.start.caller.host)", run.what, run.word,
                run.message,
            ].map { Escaping.shortened($0, limit: 100) }
        }
        let heading = ["run", "started", "took", "by", "command", "outcome", ""]
        let widths = heading.indices.map { column in ([heading] + rows).map { $0[column].count }.max() ?? 0 }
        func line(_ cells: [String], _ paint: (Int, String) -> String) -> String {
            var text = ""
            for (column, cell) in cells.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                // Numbers end where their column ends.
                text += column == 0 || column == 2 ? padding + paint(column, cell) : paint(column, cell) + padding
                text += "  "
            }
            while text.last == " " { text.removeLast() }
            return text + "\n"
        }
        var text = line(heading) { style.dim($1) }
        for (row, run) in zip(rows, runs) {
            text += line(row) { column, cell in
                switch column {
                case 0: style.bold(cell)
                case 5: run.painted(cell, style)
                case 6: style.dim(cell)
                default: cell
                }
            }
        }
        return text
    }

    func text(of run: Run, actions: [ActionRecord]) -> String {
        let caller = run.start.caller
        var text = "\(style.bold("Run \(run.id)")): \(Escaping.shown(run.what)), \(run.painted(run.word, style))\n"
        text += row("by", caller.description + (caller.origin.map { ", logged in from \($0)" } ?? ""))
        text += row("started", run.start.started.shown)
        if let ended = run.ended {
            text += run.outcome == .interrupted ? row("noticed", ended.shown) : row("ended", "\(ended.shown), after \(run.took)")
        }
        if let revision = run.start.revision { text += row("revision", revision) }
        if let plan = run.start.planID { text += row("plan", plan) }
        if !run.message.isEmpty { text += row("result", run.message) }
        for action in actions { text += "\n" + self.text(of: action) }
        return text
    }

    private func row(_ name: String, _ value: String) -> String {
        "  \(style.dim(name.padding(toLength: 9, withPad: " ", startingAt: 0))) \(Escaping.lines(value, indent: "            "))\n"
    }

    private func text(of action: ActionRecord) -> String {
        let (sign, word) =
            switch action.outcome {
            case .succeeded: (style.green("✓"), "succeeded")
            case .failed: (style.boldRed("✗"), style.red("failed"))
            case .rolledBack: (style.boldRed("↺"), "rolled back")
            case .skipped: (style.yellow("-"), "skipped")
            case .interrupted: (style.boldRed("?"), style.red("was under way when the run ended"))
            case nil: action.started == nil ? (style.yellow("-"), "not started") : (style.yellow("…"), "under way")
            }
        let took = action.duration.map { ", \($0.shown)" } ?? ""
        var text = "  \(sign) \(style.bold(Escaping.shown(action.start.address))): \(Escaping.shown(action.start.operation)), \(word)\(took)\n"
        for field in action.start.fields {
            text += "      \(Escaping.shown(field.path)): \(shown(field.observed)) → \(shown(field.desired))\n"
        }
        for step in action.start.steps { text += "      \(style.cyan("$")) \(Escaping.shown(step))\n" }
        if !action.message.isEmpty { text += "      \(style.dim(Escaping.lines(action.message, indent: "      ")))\n" }
        return text
    }

    private func shown(_ value: Value?) -> String { value.map { Escaping.shortened($0.description, limit: 200) } ?? "(none)" }

    // MARK: JSON

    func document(of runs: [Run]) -> Value {
        ["formatVersion": "1", "runs": .array(runs.map(\.document))]
    }

    func document(of run: Run, actions: [ActionRecord]) -> Value {
        var document = run.document
        document["actions"] = .array(actions.map(\.document))
        return ["formatVersion": "1", "run": document]
    }
}

extension Run {
    /// `apply state`.
    fileprivate var what: String { start.source.isEmpty ? start.command : "\(start.command) \(start.source)" }

    /// Empty where it isn't known: of an interrupted run only when that was noticed.
    fileprivate var took: String {
        guard let ended, outcome != .interrupted else { return "" }
        return Duration.milliseconds(Int64(max(0, ended.timeIntervalSince(start.started)) * 1000)).shown
    }

    /// Its outcome, or what is known of a run that has none.
    fileprivate var word: String {
        if let outcome { return outcome.rawValue }
        return switch start.caller.process.liveness {
        case .alive: "under way"
        case .dead: "interrupted"
        case .unknown: "no end yet"
        }
    }

    fileprivate func painted(_ text: String, _ style: Style) -> String {
        switch outcome {
        case .complete: style.green(text)
        case .incomplete, .interrupted: style.red(text)
        case nil: style.yellow(text)
        }
    }

    fileprivate var document: Value {
        var counts: Value = [:]
        for outcome in ActionRecord.Outcome.allCases { counts[outcome.rawValue] = .int(Int64(self.counts[outcome] ?? 0)) }
        counts["open"] = .int(Int64(self.counts[nil] ?? 0))
        return [
            "id": .int(id),
            "command": .string(start.command),
            "source": .string(start.source),
            "revision": start.revision.map(Value.string) ?? .null,
            "planID": start.planID.map(Value.string) ?? .null,
            "user": .string(start.caller.user),
            "host": .string(start.caller.host),
            "pid": .int(Int64(start.caller.process.pid)),
            "from": start.caller.origin.map(Value.string) ?? .null,
            "started": start.started.document,
            "ended": ended?.document ?? .null,
            "outcome": outcome.map { .string($0.rawValue) } ?? .null,
            "message": .string(message),
            "counts": counts,
        ]
    }
}

extension ActionRecord {
    fileprivate var document: Value {
        [
            "address": .string(start.address),
            "kind": .string(start.kind),
            "action": .string(start.operation),
            "fingerprint": .string(start.fingerprint),
            "fields": .array(
                start.fields.map { ["path": .string($0.path), "observed": $0.observed ?? .null, "desired": $0.desired ?? .null] }
            ),
            "steps": .array(start.steps.map(Value.string)),
            "started": started?.document ?? .null,
            "ended": ended?.document ?? .null,
            "seconds": duration.map { .double($0 / .seconds(1)) } ?? .null,
            "outcome": outcome.map { .string($0.rawValue) } ?? .null,
            "message": .string(message),
        ]
    }
}

extension Date {
    /// RFC 3339, in UTC, to the millisecond.
    fileprivate var document: Value { .string(formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))) }
}

extension Duration {
    /// `0.42 s`, `12 s`, `3 min 5 s`.
    fileprivate var shown: String {
        let seconds = self / .seconds(1)
        if seconds < 10 { return String(format: "%.2f s", seconds) }
        if seconds < 120 { return "\(Int(seconds)) s" }
        return "\(Int(seconds) / 60) min \(Int(seconds) % 60) s"
    }
}
