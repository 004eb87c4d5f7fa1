import Applying
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Testing
import YAML

/// An apply says of its end whether all is as declared: what somebody changed back meanwhile is seen, and what others depend on is ready.
struct LastLookTests {
    @Test func whatSomebodyChangesBackMeanwhileIsNoSuccess() async {
        let world = World(World.State(settings: ["a": ["z": 1]]))
        let resources = [
            World.setting("a/Setting/x", 1, line: 1),
            World.setting("a/Setting/y", 1, dependsOn: ["a/Setting/x"], line: 2),
            World.setting("a/Setting/z", 1, line: 3),
        ]
        let desired = DesiredState(targets: [World.host("a")], resources: resources, contentHash: "hash")
        let plan = await Pass(desired: desired, kinds: [World.kind], source: "state", concurrency: 1).plan(observer: world.observer)
        var collaborators = world.collaborators
        collaborators.willStart = { action in
            // As the second action starts, somebody puts the first back, and something that was as declared all along away.
            if action.address.resource == "Setting/y" { world.state.withLock { $0.settings["a"] = ["x": 7, "z": 7] } }
            return nil
        }
        let events = Mutex<[ApplyEvent]>([])
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: [World.kind],
            collaborators: collaborators,
            options: ApplyOptions(concurrency: 1),
            report: { event in events.withLock { $0.append(event) } }
        )
        #expect(summary.succeeded == 2 && summary.drifted == 2 && !summary.isComplete)
        let drifted = events.withLock { $0 }.compactMap { if case .drifted(let address, _) = $0 { address.description } else { nil } }
        #expect(drifted == ["a/Setting/x", "a/Setting/z"])
    }

    /// The cluster has what the host's setting depends on, as declared; `ready` says what becomes of it.
    private func apply(
        isReady: Bool,
        isInterrupted: Bool = false
    ) async -> (summary: ApplySummary, asked: Int, ran: [String], words: String) {
        let cluster = Target.cluster(Cluster(name: "home", position: SourcePosition(file: "hosts.yaml", line: 1, column: 1)))
        let world = World(World.State(settings: ["home": ["web": 1]]))
        let resources = [
            World.setting("a/Setting/x", 1, dependsOn: ["home/Setting/web"], line: 1), World.setting("a/Setting/y", 1, line: 2),
            World.setting("home/Setting/web", 1, line: 3),
        ]
        let desired = DesiredState(targets: [World.host("a"), cluster], resources: resources, contentHash: "hash")
        let plan = await Pass(desired: desired, kinds: [World.kind], source: "state", concurrency: 1).plan(observer: world.observer)
        let asked = Mutex(0)
        var collaborators = world.collaborators
        collaborators.awaitReadiness = { _, _, limit, isInterrupted in
            #expect(limit == .seconds(120))
            asked.withLock { $0 += 1 }
            return isReady ? nil : isInterrupted() ? "0 of 1 replicas; interrupted" : "0 of 1 replicas"
        }
        let events = Mutex<[ApplyEvent]>([])
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: [World.kind],
            collaborators: collaborators,
            options: ApplyOptions(isInterrupted: { isInterrupted && asked.withLock { $0 } > 0 }),
            report: { event in events.withLock { $0.append(event) } }
        )
        return (summary, asked.withLock { $0 }, world.state.withLock { $0.log }, "\(events.withLock { $0 })")
    }

    @Test func whatIsAsDeclaredAndNotReadyIsWaitedFor() async {
        let run = await apply(isReady: true)
        #expect(run.asked == 1 && run.summary.isComplete)
        #expect(run.ran == ["a/Setting/y", "a/Setting/x"], "only what depends on it waits")
    }

    @Test func whatNeverGetsReadyKeepsWhatDependsOnItFromStarting() async {
        let run = await apply(isReady: false)
        #expect(run.asked == 1)
        #expect(run.ran == ["a/Setting/y"])
        #expect(run.summary.skipped == 1 && run.summary.succeeded == 1)
        #expect(run.words.contains("waits for home/Setting/web, which is as declared and not ready: 0 of 1 replicas"))
    }

    @Test func anInterruptIsHeardWhileItIsWaitedFor() async {
        let run = await apply(isReady: false, isInterrupted: true)
        #expect(run.words.contains("0 of 1 replicas; interrupted") && run.summary.skipped >= 1)
        #expect(!run.ran.contains("a/Setting/x"))
    }
}
