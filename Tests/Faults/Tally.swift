import Foundation
import Synchronization

/// What came of one fault: how it is called, and what should not have been.
struct Trial: Sendable {
    var outcomes: [String] = []
    var violations: [String] = []

    /// Notes what should have been so and was not.
    mutating func check(_ isSo: Bool, _ what: @autoclosure () -> String) {
        if !isSo { violations.append(what()) }
    }
}

/// The table: a line for each fault.
final class Tally: Sendable {
    private struct Row {
        var group: String
        var fault: String
        var trials = 0
        var outcomes: [String: Int] = [:]
        var violations: [String] = []
    }

    private let rows = Mutex<[Row]>([])
    private let seed: UInt64

    init(seed: UInt64) { self.seed = seed }

    /// - Parameter reproduce: arguments that bring this very trial about again.
    func add(_ group: String, _ fault: String, _ trial: Trial, reproduce: String = "") {
        rows.withLock { rows in
            let index =
                rows.firstIndex { $0.group == group && $0.fault == fault }
                ?? {
                    rows.append(Row(group: group, fault: fault))
                    return rows.count - 1
                }()
            rows[index].trials += 1
            for outcome in trial.outcomes { rows[index].outcomes[outcome, default: 0] += 1 }
            rows[index].violations += trial.violations
        }
        for violation in trial.violations {
            say("VIOLATION \(group), \(fault): \(violation)\n    again: Tests/Faults/run --seed \(seed) --only \(group) \(reproduce)")
        }
    }

    var violations: Int { rows.withLock { $0.reduce(0) { $0 + $1.violations.count } } }

    func print() {
        let rows = rows.withLock { $0 }
        var lines = [["fault", "trials", "outcomes", "violations"]]
        var groups: [String] = []
        for row in rows where !groups.contains(row.group) { groups.append(row.group) }
        for group in groups {
            for row in rows where row.group == group {
                let outcomes = row.outcomes.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { "\($0.value) \($0.key)" }
                lines.append(["\(group): \(row.fault)", "\(row.trials)", outcomes.joined(separator: ", "), "\(row.violations.count)"])
            }
        }
        let trials = rows.reduce(0) { $0 + $1.trials }
        lines.append(["all \(rows.count) kinds", "\(trials)", "seed \(seed)", "\(violations)"])
        let widths = (0..<4).map { column in lines.map { $0[column].count }.max() ?? 0 }
        for line in lines {
            let cells = line.enumerated().map { column, cell in
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                return column == 1 || column == 3 ? padding + cell : cell + padding
            }
            Swift.print(cells.joined(separator: "  "))
        }
    }
}

/// Progress, on stderr.
func say(_ text: String) { FileHandle.standardError.write(Data("\(text)\n".utf8)) }

/// SplitMix64: the same seed gives the same faults.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
