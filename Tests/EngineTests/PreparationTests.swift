import Applying
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Testing

/// What is done for a target as a whole around its actions: once before the first, once after the last, whatever became of them.
struct PreparationTests {
    private struct Outcome {
        var summary: ApplySummary
        var log: [String]
        var ran: [String]
    }

    private func apply(_ state: World.State, refusing: Set<String> = []) async -> Outcome {
        let world = World(state)
        let resources = [
            World.setting("a/Setting/x", 1, line: 1),
            World.setting("a/Setting/y", 2, dependsOn: ["b/Setting/x"], line: 2),
            World.setting("b/Setting/x", 3, line: 3),
        ]
        let desired = DesiredState(targets: ["a", "b"].map { World.host($0) }, resources: resources, contentHash: "hash")
        let plan = await Pass(desired: desired, kinds: [World.kind], source: "state", concurrency: 2).plan(observer: world.observer)
        let log = Mutex<[String]>([])
        var collaborators = world.collaborators
        collaborators.prepare = { target, actions in
            log.withLock { $0.append("prepare \(target.name) for \(actions.count)") }
            guard refusing.contains(target.name) else { return nil }
            return Problem(target: target.name, status: .blocked, message: "somebody else changes it")
        }
        collaborators.conclude = { target, outcomes in
            let words = outcomes.map { action, outcome in
                switch outcome {
                case .succeeded: "\(action.address.resource) succeeded"
                case .skipped: "\(action.address.resource) skipped"
                case .failed: "\(action.address.resource) failed"
                case .rolledBack: "\(action.address.resource) rolledBack"
                }
            }
            log.withLock { $0.append("conclude \(target.name): \(words.sorted().joined(separator: ", "))") }
        }
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: [World.kind],
            collaborators: collaborators,
            options: ApplyOptions(concurrency: 2),
            report: { _ in }
        )
        return Outcome(summary: summary, log: log.withLock { $0.sorted() }, ran: world.state.withLock { $0.log })
    }

    @Test func eachTargetIsPreparedAndConcludedOnce() async {
        let outcome = await apply(World.State())
        #expect(
            outcome.log == [
                "conclude a: Setting/x succeeded, Setting/y succeeded", "conclude b: Setting/x succeeded", "prepare a for 2", "prepare b for 1",
            ]
        )
        #expect(outcome.summary.succeeded == 3)
    }

    @Test func nothingOfARefusedTargetIsStarted() async {
        let outcome = await apply(World.State(), refusing: ["a"])
        #expect(outcome.ran == ["b/Setting/x"])
        #expect(outcome.summary.skipped == 2)
        #expect(outcome.log.count { $0.hasPrefix("prepare a") } == 1)
        #expect(outcome.log.contains("conclude a: Setting/x skipped, Setting/y skipped"))
    }

    @Test func aTargetIsConcludedWhenWhatItWaitsForFails() async {
        var state = World.State()
        state.broken = ["b/Setting/x"]
        let outcome = await apply(state)
        #expect(outcome.log.contains("conclude a: Setting/x succeeded, Setting/y skipped"))
        #expect(outcome.log.contains("conclude b: Setting/x failed"))
    }
}
