import Applying
import DriftDetection
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Testing
import Values
import YAML

/// What is no longer declared: when it goes, when it stays, and how much of it at once.
struct PruneTests {
    /// `Setting`, with settings that the inventory has; `NAME=VALUE` is there still, and what is gone says nothing.
    private static let kind = RegisteredKind(
        name: "Setting",
        decode: { _ in [] },
        probe: [],
        detect: World.kind.detect,
        undeclared: { owned, facts in
            guard case .host(let sections) = facts.facts, let output = sections[World.section]?.output else { return [] }
            return owned.compactMap { owned -> ResourceDrift? in
                let name = owned.address.resource.split(separator: "/")[1]
                guard output.split(separator: "\n").contains(where: { $0.hasPrefix("\(name)=") }) else { return nil }
                return ResourceDrift(
                    address: owned.address,
                    kind: "Setting",
                    handler: "Setting",
                    standing: .surplus,
                    phase: name == "first" ? 100 : 101
                )
            }
        },
        change: { drift in
            let name = String(drift.address.resource.split(separator: "/")[1])
            let value = drift.differences.first?.desired?.description ?? "absent"
            return Change(steps: [Step(.run(arguments: ["set", name, value]), summary: "set \(name) \(value)")])
        }
    )

    private struct Outcome {
        var plan: Plan
        var ran: [String]
        var summary: ApplySummary
    }

    private func run(
        _ state: World.State,
        declared: [DesiredResource] = [],
        owned: [String],
        targets: [String] = [],
        maxDeletes: Int = defaultMaxDeletes
    ) async -> Outcome {
        let world = World(state)
        let names = ["a", "b"]
        let clusters = names.map { name in
            Target.cluster(Cluster(name: name, position: SourcePosition(file: "s.yaml", line: 1, column: 1)))
        }
        let desired = DesiredState(targets: clusters, resources: declared, contentHash: "hash")
        let observed: @Sendable (Target) -> TargetObservation = { target in
            guard case .observed(var facts) = world.observation(of: target) else { return world.observation(of: target) }
            facts.owned = owned.map(World.address).filter { $0.target == target.name }.map {
                OwnedResource(address: $0, kind: "Setting", handler: "Setting", isCreated: true)
            }
            return .observed(facts)
        }
        let pass = Pass(
            desired: desired,
            kinds: [Self.kind],
            source: "state",
            selection: Selection(targets.map(AddressGlob.init)),
            concurrency: 2,
            maxDeletes: maxDeletes
        )
        let plan = await pass.plan(observer: { target, _ in observed(target) })
        var collaborators = world.collaborators
        collaborators.observe = { target, _ in observed(target) }
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: [Self.kind],
            collaborators: collaborators,
            options: ApplyOptions(concurrency: 2),
            report: { _ in }
        )
        return Outcome(plan: plan, ran: world.state.withLock { $0.log }, summary: summary)
    }

    private func state(_ names: String...) -> World.State {
        var state = World.State()
        state.settings["a"] = Dictionary(uniqueKeysWithValues: names.map { ($0, 1) })
        return state
    }

    @Test func goesAfterEverythingElseInItsOrder() async {
        let declared = [
            World.setting("a/Setting/new", 1, dependsOn: ["b/Setting/late"], line: 1), World.setting("b/Setting/late", 1, line: 2),
        ]
        let outcome = await run(state("old", "first"), declared: declared, owned: ["a/Setting/old", "a/Setting/first"])
        #expect(outcome.ran == ["b/Setting/late", "a/Setting/new", "a/Setting/first", "a/Setting/old"])
        #expect(outcome.summary.succeeded == 4 && outcome.summary.isComplete)
    }

    @Test func staysWhereSomethingElseFails() async {
        var state = state("old")
        state.broken = ["b/Setting/late"]
        let declared = [
            World.setting("a/Setting/new", 1, dependsOn: ["b/Setting/late"], line: 1), World.setting("b/Setting/late", 1, line: 2),
        ]
        let outcome = await run(state, declared: declared, owned: ["a/Setting/old"])
        #expect(outcome.ran == ["b/Setting/late"])
        #expect(outcome.summary.skipped == 2 && outcome.summary.failed == 1)
    }

    @Test func aFailureAtAnotherTargetIsNoReasonToStay() async {
        var state = state("old")
        state.broken = ["b/Setting/x"]
        let outcome = await run(state, declared: [World.setting("b/Setting/x", 1, line: 1)], owned: ["a/Setting/old"])
        #expect(Set(outcome.ran) == ["a/Setting/old", "b/Setting/x"])
        #expect(outcome.summary.succeeded == 1 && outcome.summary.failed == 1)
    }

    @Test func isWithheldWhereSomethingCantBeMade() async {
        let stray = DesiredResource(
            kind: "Other",
            handler: "Other",
            address: World.address("a/Other/x"),
            fields: [:],
            origins: [SourcePosition(file: "s.yaml", line: 9, column: 1)]
        )
        let outcome = await run(state("old"), declared: [stray], owned: ["a/Setting/old"])
        #expect(outcome.plan.actions == [])
        #expect(outcome.plan.problems.map(\.status) == [.invalid, .blocked])
        #expect(outcome.plan.problems.map(\.message).last?.hasSuffix("waits for a/Other/x (invalid)") == true)
    }

    @Test(arguments: [(102, ProblemStatus.blocked, true), (101, .blocked, false), (102, .held, false)])
    func staysAsLongAsWhatGoesBeforeItDoes(phase: Int, status: ProblemStatus, isWithheld: Bool) {
        func undeclared(_ name: String, _ phase: Int, _ standing: ResourceDrift.Standing) -> ResourceDrift {
            var drift = ResourceDrift(
                address: World.address("a/Setting/\(name)"),
                kind: "Setting",
                handler: "Setting",
                standing: standing,
                phase: phase
            )
            drift.isUndeclared = true
            return drift
        }
        let object = undeclared("object", 101, .problem(status, "it is being deleted, and waits for its finalizer"))
        let drift = Drift(resources: [object, undeclared("operator", phase, .surplus)], identities: ["a": "a"])
        let plan = Planning.plan(drift, kinds: [Self.kind], contentHash: "", revision: nil, source: "state")
        #expect(plan.actions.isEmpty == isWithheld)
        guard isWithheld else { return }
        #expect(
            plan.problems.last?.message
                == "no longer declared; it stays until what goes before it is gone: waits for a/Setting/object (blocked)"
        )
    }

    @Test func isLookedForAtATargetWithoutSpecs() async {
        let outcome = await run(state("old"), owned: ["a/Setting/old", "a/Setting/gone"])
        #expect(outcome.plan.actions.map(\.address.description) == ["a/Setting/old"])
        #expect(outcome.plan.actions.map(\.isPrune) == [true])
    }

    @Test func isNarrowedByTarget() async {
        let outcome = await run(state("old", "other"), owned: ["a/Setting/old", "a/Setting/other"], targets: ["a/Setting/oth*"])
        #expect(outcome.ran == ["a/Setting/other"])
        let other = await run(state("old"), owned: ["a/Setting/old"], targets: ["b"])
        #expect(other.ran == [])
    }

    @Test(arguments: [(10, 10, true), (11, 10, false), (1, 0, false), (0, 0, true), (40, 40, true)])
    func isRefusedWholeAboveTheLimit(count: Int, limit: Int, isAllowed: Bool) async {
        let names = (0..<count).map { "s\($0)" }
        var state = World.State()
        state.settings["a"] = Dictionary(uniqueKeysWithValues: names.map { ($0, 1) })
        let declared = [World.setting("b/Setting/new", 1, line: 1)]
        let outcome = await run(state, declared: declared, owned: names.map { "a/Setting/\($0)" }, maxDeletes: limit)
        #expect((outcome.plan.refusal == nil) == isAllowed)
        #expect(outcome.plan.actions.count == count + 1)
        #expect(outcome.ran.count == (isAllowed ? count + 1 : 0))
        #expect(outcome.summary.isComplete == isAllowed)
        #expect(outcome.plan.problems.count == (isAllowed ? 0 : 1))
    }

    @Test func whatIsDeclaredAbsentIsNotCounted() async {
        let names = (0..<12).map { "s\($0)" }
        var state = World.State()
        state.settings["a"] = Dictionary(uniqueKeysWithValues: names.map { ($0, 1) })
        let declared = names.enumerated().map { World.setting("a/Setting/\($1)", nil, line: $0 + 1) }
        let outcome = await run(state, declared: declared, owned: [])
        #expect(outcome.plan.refusal == nil && outcome.summary.succeeded == 12)
    }
}
