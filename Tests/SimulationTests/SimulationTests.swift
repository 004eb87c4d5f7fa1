import Foundation
import Testing

/// The laws of an apply over random worlds and fault schedules, in virtual time. `PLUMB_SIMULATIONS=100000` tries more than the usual 3,000;
/// `PLUMB_SEED=N` tries one again.
struct SimulationTests {
    @Test func itConvergesOrSaysWhyNot() {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["PLUMB_SIMULATIONS"].flatMap(UInt64.init) ?? 3000
        let seeds = environment["PLUMB_SEED"].flatMap(UInt64.init).map { $0...$0 } ?? 0...(count - 1)
        var figures = Figures()
        for seed in seeds {
            let violations = Scenario(seed: seed).play(&figures)
            if !violations.isEmpty { Issue.record("seed \(seed):\n\(violations.joined(separator: "\n"))") }
        }
        print(figures.words)
        // A simulation in which nothing goes wrong proves nothing.
        if seeds.count >= 1000 {
            for (what, count) in figures.all { #expect(count > 0, "no simulation had \(what)") }
        }
    }

    @Test func theSameSeedGivesTheSameRun() {
        for seed in UInt64(0)..<50 {
            var first = Figures()
            var second = Figures()
            _ = Scenario(seed: seed).play(&first)
            _ = Scenario(seed: seed).play(&second)
            #expect(first.words == second.words)
        }
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
