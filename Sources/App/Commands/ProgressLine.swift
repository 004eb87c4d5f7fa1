import Reporting
import ResourceModel

/// What is going on while targets are asked: one line that renews itself on a terminal, a line a target elsewhere.
struct ProgressLine {
    private let terminal: Terminal
    private let total: Int
    private var waiting: Set<String>
    private var width = 0

    init(targets: [String], terminal: Terminal) {
        self.terminal = terminal
        total = targets.count
        waiting = Set(targets)
        if terminal.errorsAreTerminal {
            show()
        } else if total > 0 {
            terminal.writeError("observing \(total == 1 ? "1 target" : "\(total) targets")\n")
        }
    }

    mutating func answered(_ target: String, _ observation: TargetObservation) {
        waiting.remove(target)
        if terminal.errorsAreTerminal {
            show()
        } else if case .failed(let problem) = observation {
            terminal.writeError("\(target): \(problem.status.rawValue)\n")
        } else {
            terminal.writeError("\(target): observed\n")
        }
    }

    /// Takes the line away again.
    mutating func finish() {
        if terminal.errorsAreTerminal { terminal.writeError("\r\u{1B}[K") }
    }

    private mutating func show() {
        var text = "observing: \(total - waiting.count) of \(total)"
        // Only when few are left does it help to know which.
        if (1...4).contains(waiting.count) { text += ", waiting for \(waiting.sorted().joined(separator: ", "))" }
        terminal.writeError("\r\u{1B}[K\(Escaping.shortened(text, limit: 76))")
    }
}
