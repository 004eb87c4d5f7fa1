import Applying
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Testing

/// What becomes of an action that is made with an undo armed: only what is observed decides.
struct RiskyExecutionTests {
    /// What the target does with `set x 2` where `x` is 1; then how it ends, what `x` is afterwards, and whether it can be observed.
    private static func run(
        _ ending: RiskyEnding,
        after: Int?,
        isDead: Bool = false
    ) async -> (events: [ApplyEvent], summary: ApplySummary, seen: ChangedState?) {
        let world = World(World.State(settings: ["a": ["x": 1]]))
        var kind = World.kind
        let change = kind.change
        kind.change = { drift in
            var result = change(drift)
            if drift.address.resource == "Setting/x" { result.risk = .disconnecting }
            return result
        }
        let resources = [World.setting("a/Setting/x", 2, line: 1), World.setting("a/Setting/y", 1, dependsOn: ["a/Setting/x"], line: 2)]
        let desired = DesiredState(targets: [World.host("a")], resources: resources, contentHash: "content")
        let plan = await Pass(desired: desired, kinds: [kind], source: "state", concurrency: 1).plan(observer: world.observer)
        #expect(plan.actions.map(\.risk) == [.disconnecting, .none])
        let seen = Mutex<ChangedState?>(nil)
        var collaborators = world.collaborators
        collaborators.executeRisky = { target, action, look in
            world.state.withLock { $0.settings["a"]?["x"] = 2 }
            let state = await look()
            seen.withLock { $0 = state }
            world.state.withLock { state in
                state.settings["a"]?["x"] = after
                if isDead { state.dead.insert("a") }
            }
            return ending
        }
        let events = Mutex<[ApplyEvent]>([])
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: [kind],
            collaborators: collaborators,
            options: ApplyOptions(),
            report: { event in events.withLock { $0.append(event) } }
        )
        return (events.withLock { $0 }, summary, seen.withLock { $0 })
    }

    private let problem = Problem(target: "a", address: World.address("a/Setting/x"), status: .denied, message: "no right")

    @Test func confirmedAndAsDeclared() async {
        let run = await Self.run(.confirmed, after: 2)
        #expect(run.seen == .asDeclared)
        #expect(run.summary.succeeded == 2 && run.summary.isComplete)
    }

    @Test func confirmedButNotAsDeclaredIsNoSuccess() async {
        let run = await Self.run(.confirmed, after: 1)
        #expect(run.summary.failed == 1 && run.summary.skipped == 1)
    }

    @Test func undoneAndAsItWasIsRolledBack() async {
        let run = await Self.run(.undone("not confirmed"), after: 1)
        #expect(run.summary.rolledBack == 1 && run.summary.succeeded == 0 && run.summary.failed == 0)
        #expect(run.summary.skipped == 1, "what depends on it was not done")
        #expect(!run.summary.isComplete)
        #expect(run.events.contains(.rolledBack(World.address("a/Setting/x"), "not confirmed. It is as it was before.")))
    }

    @Test(arguments: [3, nil]) func undoneAndSomethingElseIsAFailure(after: Int?) async {
        let run = await Self.run(.undone("not confirmed"), after: after)
        #expect(run.summary.rolledBack == 0 && run.summary.failed == 1)
    }

    @Test func undoneAndNotObservableIsAFailure() async {
        let run = await Self.run(.undone("not confirmed"), after: 1, isDead: true)
        #expect(run.summary.rolledBack == 0 && run.summary.failed == 1)
        #expect("\(run.events)".contains("not confirmed; the result could not be observed: no route to host"))
    }

    @Test func aConfirmationWhoseAnswerWasLostIsStillASuccess() async {
        let run = await Self.run(.undone("the answer was lost"), after: 2)
        #expect(run.summary.succeeded == 2 && run.summary.isComplete)
    }

    @Test func unknownIsDecidedByLookingOnceMore() async {
        var lost = problem
        lost.status = .unreachable
        #expect(await Self.run(.unknown(lost), after: 1).summary.rolledBack == 1)
        #expect(await Self.run(.unknown(lost), after: 1, isDead: true).summary.failed == 1)
        #expect(await Self.run(.unknown(lost), after: 3).summary.failed == 1)
    }

    @Test func refusedIsAFailureWithItsReason() async {
        let run = await Self.run(.refused(problem), after: 1)
        #expect(run.summary.failed == 1 && run.summary.rolledBack == 0 && run.summary.skipped == 1)
        #expect(run.events.contains(.failed(World.address("a/Setting/x"), "no right")))
    }
}
