import Applying
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Testing

/// Budgets in a whole apply, where the outcome is what was observed.
struct ApplyBudgetTests {
    /// One setting on each of three hosts, of which `a` takes its change back.
    private static func apply(_ budget: ApplyBudget, isStopped: Bool = false) async -> (summary: ApplySummary, skipped: [String]) {
        let world = World(World.State(settings: ["a": [:], "b": [:], "c": [:]]))
        var kind = World.kind
        let change = kind.change
        kind.change = { drift in
            var result = change(drift)
            if drift.address.target == "a" { result.risk = .disconnecting }
            return result
        }
        let names = ["a", "b", "c"]
        let resources = names.enumerated().map { World.setting("\($1)/Setting/x", 1, line: $0 + 1) }
        let desired = DesiredState(targets: names.map { World.host($0) }, resources: resources, contentHash: "content")
        let plan = await Pass(desired: desired, kinds: [kind], source: "state", concurrency: 3).plan(observer: world.observer)
        var collaborators = world.collaborators
        collaborators.executeRisky = { _, _, _ in .undone("not confirmed") }
        if isStopped { collaborators.willStart = { Problem(target: $0.address.target, status: .blocked, message: "the disk is full") } }
        let skipped = Mutex<[String]>([])
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: [kind],
            collaborators: collaborators,
            options: ApplyOptions(concurrency: 3, budget: budget),
            report: { event in
                if case .skipped(let address, let why) = event { skipped.withLock { $0.append("\(address.target): \(why)") } }
            }
        )
        return (summary, skipped.withLock { $0 })
    }

    @Test func aRollbackCountsAsAFailure() async {
        let run = await Self.apply(ApplyBudget(maxUnavailable: 1, maxFailures: 0))
        #expect(run.summary.rolledBack == 1 && run.summary.succeeded == 0)
        #expect(run.skipped == ["b", "c"].map { "\($0): not started, since 1 action failed (--max-failures 0)" })
        let patient = await Self.apply(ApplyBudget(maxUnavailable: 1, maxFailures: 1))
        #expect(patient.summary.rolledBack == 1 && patient.summary.succeeded == 2)
    }

    @Test func aCanaryThatIsRolledBackDidNotSucceed() async {
        let run = await Self.apply(ApplyBudget(canary: 1))
        #expect(run.summary.rolledBack == 1 && run.summary.succeeded == 0)
        #expect(run.skipped == ["b", "c"].map { "\($0): not started, since a/Setting/x of a canary did not succeed (--canary)" })
    }

    @Test func whatWasNotBegunIsNoFailure() async {
        let run = await Self.apply(ApplyBudget(maxUnavailable: 1, maxFailures: 0), isStopped: true)
        #expect(run.summary.skipped == 3 && run.summary.failed == 0)
        #expect(run.skipped == ["a", "b", "c"].map { "\($0): not started: the disk is full" })
    }
}
