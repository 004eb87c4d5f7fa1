import Applying
import DriftDetection
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Testing

/// What an apply hands to be written down, and what it does when that fails.
struct RecordingTests {
    private final class Recorder: Sendable {
        let log = Mutex<[String]>([])
        let limit: Int
        init(limit: Int) { self.limit = limit }

        func add(to collaborators: ApplyCollaborators) -> ApplyCollaborators {
            var collaborators = collaborators
            collaborators.willStart = { action in
                self.log.withLock { log in
                    guard log.count(where: { $0.hasPrefix("start") }) < self.limit else {
                        return Problem(target: action.address.target, status: .blocked, message: "the disk is full")
                    }
                    log.append("start \(action.address)")
                    return nil
                }
            }
            collaborators.didEnd = { action, outcome in
                let word =
                    switch outcome {
                    case .succeeded: "succeeded"
                    case .failed: "failed"
                    case .rolledBack: "rolledBack"
                    case .skipped(let reason): "skipped, \(reason)"
                    }
                self.log.withLock { $0.append("end \(action.address) \(word)") }
            }
            return collaborators
        }
    }

    private func apply(_ world: World, _ resources: [DesiredResource], targets: [Target], limit: Int) async -> (ApplySummary, [String]) {
        let desired = DesiredState(targets: targets, resources: resources, contentHash: "hash")
        let plan = await Pass(desired: desired, kinds: [World.kind], source: "state", concurrency: 1).plan(observer: world.observer)
        let recorder = Recorder(limit: limit)
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: [World.kind],
            collaborators: recorder.add(to: world.collaborators),
            options: ApplyOptions(concurrency: 1),
            report: { _ in }
        )
        return (summary, recorder.log.withLock { $0 })
    }

    @Test func everyActionIsWrittenDownBeforeAndAfter() async {
        var state = World.State()
        state.broken = ["a/Setting/y"]
        let world = World(state)
        let resources = [
            World.setting("a/Setting/x", 1, line: 1), World.setting("a/Setting/y", 1, line: 2),
            World.setting("b/Setting/z", 1, dependsOn: ["a/Setting/y"], line: 3),
        ]
        let (summary, log) = await apply(world, resources, targets: [World.host("a"), World.host("b")], limit: .max)
        #expect(summary.succeeded == 1 && summary.failed == 1 && summary.skipped == 1)
        #expect(
            log == [
                "start a/Setting/x", "start a/Setting/y", "end a/Setting/x succeeded", "end a/Setting/y failed",
                "end b/Setting/z skipped, depends on a/Setting/y, which did not succeed",
            ]
        )
    }

    @Test func whatCannotBeWrittenDownIsNotStarted() async {
        let world = World(World.State())
        let resources = [
            World.setting("a/Setting/x", 1, line: 1), World.setting("a/Setting/y", 1, line: 2), World.setting("b/Setting/z", 1, line: 3),
        ]
        let (summary, log) = await apply(world, resources, targets: [World.host("a"), World.host("b")], limit: 1)
        #expect(summary.succeeded == 1 && summary.skipped == 2 && !summary.isComplete)
        #expect(world.state.withLock { $0.log } == ["a/Setting/x"], "what had started was finished, and nothing else was")
        #expect(
            log == [
                "start a/Setting/x", "end a/Setting/x succeeded", "end a/Setting/y skipped, not started: the disk is full",
                "end b/Setting/z skipped, not started: the disk is full",
            ]
        )
    }

    @Test func whatIsNotTriedSinceItsTargetIsLostWasNeverStarted() async {
        let world = World(World.State())
        let resources = [World.setting("a/Setting/x", 1, line: 1), World.setting("a/Setting/y", 1, line: 2)]
        let desired = DesiredState(targets: [World.host("a")], resources: resources, contentHash: "hash")
        let plan = await Pass(desired: desired, kinds: [World.kind], source: "state", concurrency: 1).plan(observer: world.observer)
        let recorder = Recorder(limit: .max)
        world.state.withLock { _ = $0.dead.insert("a") }
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: [World.kind],
            collaborators: recorder.add(to: world.collaborators),
            options: ApplyOptions(concurrency: 1),
            report: { _ in }
        )
        #expect(summary.failed == 1 && summary.skipped == 1)
        let log = recorder.log.withLock { $0 }
        #expect(log == ["start a/Setting/x", "end a/Setting/x failed", "end a/Setting/y skipped, not started: connection lost"])
    }

    @Test func anInterruptionStartsNothingMoreAtTheSameTargetEither() async {
        let world = World(World.State())
        let resources = [World.setting("a/Setting/x", 1, line: 1), World.setting("a/Setting/y", 1, line: 2)]
        let desired = DesiredState(targets: [World.host("a")], resources: resources, contentHash: "hash")
        let plan = await Pass(desired: desired, kinds: [World.kind], source: "state", concurrency: 1).plan(observer: world.observer)
        let recorder = Recorder(limit: .max)
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: [World.kind],
            collaborators: recorder.add(to: world.collaborators),
            options: ApplyOptions(concurrency: 1, isInterrupted: { world.state.withLock { !$0.log.isEmpty } }),
            report: { _ in }
        )
        #expect(summary.succeeded == 1 && summary.skipped == 1)
        #expect(world.state.withLock { $0.log } == ["a/Setting/x"])
        let log = recorder.log.withLock { $0 }
        #expect(log == ["start a/Setting/x", "end a/Setting/x succeeded", "end a/Setting/y skipped, interrupted before it was started"])
    }
}
