import Foundation

/// Measures Plumb beside its peers, in the same run and in turns, and prints ratios with their spread. Started by `Tests/Benchmarks/run`.
///
/// Nothing here passes or fails: a slow machine is no defect. The figures to hold are in README.md beside this file.
@main
struct Benchmarks {
    static func main() async throws {
        switch CommandLine.arguments.dropFirst().first {
        case "memory": engineBenchmarks()
        case "start": try startBenchmark()
        case "plan": try planBenchmark(rounds: CommandLine.arguments.dropFirst(2).first.flatMap { Int($0) } ?? 7)
        case "watch": try await watchBenchmark(trials: CommandLine.arguments.dropFirst(2).first.flatMap { Int($0) } ?? 300)
        case "webhooks":
            let numbers = CommandLine.arguments.dropFirst(2).compactMap { Int($0) }
            try await webhookBenchmark(rate: numbers.first ?? 10_000, seconds: numbers.dropFirst().first ?? 10)
        case "webhook-server": try await serveWebhooks()
        default:
            print("usage: Benchmarks memory | start | webhooks [RATE [SECONDS]] | plan [ROUNDS] | watch [TRIALS]   (plan, watch: inside a lab)")
            exit(64)
        }
    }
}

/// Times in seconds, smallest first.
struct Samples {
    private(set) var sorted: [Double]

    init(_ values: [Double]) { sorted = values.sorted() }

    var median: Double { sorted.isEmpty ? .nan : sorted[sorted.count / 2] }
    /// The value below which a part of all lies, 0 to 1.
    func quantile(_ part: Double) -> Double { sorted.isEmpty ? .nan : sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))] }
    var description: String { "\(Self.shown(median)) (\(Self.shown(sorted.first ?? .nan)) to \(Self.shown(sorted.last ?? .nan)))" }

    static func shown(_ seconds: Double) -> String {
        seconds < 0.1 ? String(format: "%.1f ms", seconds * 1000) : String(format: "%.2f s", seconds)
    }
}

func timed(_ body: () throws -> Void) rethrows -> Double {
    let start = ContinuousClock.now
    try body()
    let elapsed = start.duration(to: .now)
    return Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
}

func line(_ columns: [String], widths: [Int] = [34, 30, 30, 24]) {
    let padded = zip(columns, widths).map { $0.padding(toLength: max($1, $0.count), withPad: " ", startingAt: 0) }
    print(padded.joined(separator: " "))
}
