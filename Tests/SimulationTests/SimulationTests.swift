import Foundation
import Testing

/// The laws of an apply over random worlds and fault schedules, in virtual time. `PLUMB_SIMULATIONS=100000` tries more than the usual 3,000;
/// `PLUMB_SEED=N` tries one again.
struct SimulationTests {
    @Test func itConvergesOrSaysWhyNot() async {
        for (seed, violations) in await onThread(Self.simulate) { Issue.record("seed \(seed):\n\(violations.joined(separator: "\n"))") }
    }

    /// - Returns: the seeds in which a law was broken.
    private static func simulate() -> [(UInt64, [String])] {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["PLUMB_SIMULATIONS"].flatMap(UInt64.init) ?? 3000
        let seeds = environment["PLUMB_SEED"].flatMap(UInt64.init).map { $0...$0 } ?? 0...(count - 1)
        var figures = Figures()
        var broken: [(UInt64, [String])] = []
        for seed in seeds {
            let violations = Scenario(seed: seed).play(&figures)
            if !violations.isEmpty { broken.append((seed, violations)) }
        }
        print(figures.words)
        // A simulation in which nothing goes wrong proves nothing.
        if seeds.count >= 1000 {
            let expected = [
                "failed", "skipped", "succeeded", "rolled back", "drifted", "undone by a host", "runs killed", "runs at once", "runs that ended",
            ]
            broken += expected.filter { figures.all[$0] == nil }.map { (0, ["nothing was \($0) in \(seeds.count) simulations"]) }
        }
        return broken
    }

    @Test func theSameSeedGivesTheSameRun() async {
        let words = await onThread {
            (UInt64(0)..<50).map { seed in
                (0..<2).map { _ in
                    var figures = Figures()
                    _ = Scenario(seed: seed).play(&figures)
                    return figures.words
                }
            }
        }
        for pair in words { #expect(pair[0] == pair[1]) }
    }

    /// A simulation is a loop that never waits: on a thread of its own it takes none from the tests that run beside it.
    private func onThread<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
        await withCheckedContinuation { continuation in Thread { continuation.resume(returning: body()) }.start() }
    }
}

/// How often what happened; so that a look at the output says what was tried.
struct Figures {
    var all: [String: Int] = [:]
    var virtualTime = Duration.zero

    mutating func count(_ what: String, _ times: Int = 1) { all[what, default: 0] += times }

    var words: String {
        let counts = all.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        return "\(virtualTime.components.seconds) s of virtual time: \(counts.joined(separator: ", "))"
    }
}
