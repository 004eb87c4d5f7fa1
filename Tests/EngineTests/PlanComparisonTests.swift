import Applying
import Planning
import Reconciling
import Reporting
import ResourceModel
import Synchronization
import Testing
import Values

/// What a saved plan is worth once the world has moved on.
struct PlanComparisonTests {
    /// A change of the new plan, and what is then said of `a/S/2`, the second of three changes (`a/S/1`, `a/S/2`, `b/S/1`).
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var change: @Sendable (inout Plan) -> Void
        var stale: [String] = []
        var unneeded: [String] = []
        var unplanned: [String] = []
        var identical: [String] = []
        var testDescription: String { name }
    }

    static let cases: [Case] = [
        Case(name: "nothing", change: { _ in }, identical: ["a/S/1", "a/S/2", "b/S/1"]),
        Case(
            name: "what does not matter",
            change: {
                $0.planID = "other"
                $0.actions[1].reason = "somebody else"
                $0.actions[1].fields[0].observed = 7
                $0.actions[1].phase = 3
                $0.notes = ["a note"]
            },
            identical: ["a/S/1", "a/S/2", "b/S/1"]
        ),
        Case(
            name: "operation",
            change: { $0.actions[1].operation = .create },
            stale: ["a/S/2 was planned as update, would now be create"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "fingerprint",
            change: { $0.actions[1].fingerprint = "other" },
            stale: ["a/S/2 what is live there has changed since"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "desired",
            change: { $0.actions[1].fields[0].desired = 3 },
            stale: ["a/S/2 other fields would be changed now"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "a field more",
            change: { $0.actions[1].fields.append(FieldDifference(path: "y", observed: 1, desired: 2)) },
            stale: ["a/S/2 other fields would be changed now"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "words of a step",
            change: { $0.actions[1].steps[0].summary = "set x 3" },
            stale: ["a/S/2 other steps would be run now"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "input of a step that its words do not tell",
            change: { $0.actions[1].steps[0].operation = .run(arguments: ["set"], input: "more") },
            stale: ["a/S/2 other steps would be run now"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "risk",
            change: { $0.actions[1].risk = .disconnecting },
            stale: ["a/S/2 its risk was 'none' and is now 'disconnecting'"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "as declared by now",
            change: { $0.unchanged.append($0.actions.remove(at: 1).address) },
            unneeded: ["a/S/2"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(name: "gone, with a readable rest", change: { $0.actions.remove(at: 1) }, unneeded: ["a/S/2"], identical: ["a/S/1", "b/S/1"]),
        Case(
            name: "gone, and its kind could not be read",
            change: {
                $0.actions.remove(at: 1)
                $0.problems = [Problem(target: "a", address: World.address("a/S/pattern"), status: .unknown, message: "garbage")]
            },
            stale: ["a/S/2 could not be observed: garbage"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "gone from an inventory that is another one",
            change: {
                $0.actions.remove(at: 1)
                $0.inventories["a"] = "kube-system/other"
            },
            stale: [
                "a/S/2 is not declared, and what Plumb holds is looked up in the inventory kube-system/other here, not in kube-system/a: "
                    + "these specs were applied from another place"
            ],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "gone from an inventory that can't be read",
            change: {
                $0.actions.remove(at: 1)
                $0.inventories["a"] = nil
            },
            stale: ["a/S/2 is not declared, and the inventory kube-system/a, which had it, can't be read"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "a problem by now",
            change: {
                $0.actions.remove(at: 1)
                $0.problems = [Problem(target: "a", address: World.address("a/S/2"), status: .held, message: "in use")]
            },
            stale: ["a/S/2 is held now: in use"],
            identical: ["a/S/1", "b/S/1"]
        ),
        Case(
            name: "target down",
            change: {
                $0.actions.removeFirst(2)
                $0.identities["a"] = nil
                $0.problems = [Problem(target: "a", status: .unreachable, message: "no route")]
            },
            stale: ["a/S/1 a is unreachable, so it could not be observed", "a/S/2 a is unreachable, so it could not be observed"],
            identical: ["b/S/1"]
        ),
        Case(
            name: "target away, which it may be",
            change: {
                $0.actions.removeFirst(2)
                $0.identities["a"] = nil
            },
            stale: ["a/S/1 a could not be observed", "a/S/2 a could not be observed"],
            identical: ["b/S/1"]
        ),
        Case(
            name: "another machine, even where it needs nothing",
            change: {
                $0.identities["a"] = "machine X"
                $0.unchanged.append($0.actions.remove(at: 1).address)
            },
            stale: [
                "a/S/1 another machine answers to the name a than the one the plan was made for: "
                    + "its host key, its machine-id or, of a cluster, its UID is another",
                "a/S/2 another machine answers to the name a than the one the plan was made for: "
                    + "its host key, its machine-id or, of a cluster, its UID is another",
            ],
            identical: ["b/S/1"]
        ),
        Case(
            name: "something new",
            change: { $0.actions.append(action("b/S/2", desired: 1)) },
            unplanned: ["b/S/2"],
            identical: ["a/S/1", "a/S/2", "b/S/1"]
        ),
        Case(
            name: "what depends on something new, and what depends on that",
            change: {
                $0.actions.insert(action("b/S/0", desired: 1), at: 0)
                $0.actions[1].dependsOn = [World.address("b/S/0")]
                $0.actions[2].dependsOn = [World.address("a/S/1")]
            },
            stale: ["a/S/1 depends on b/S/0, which was not planned", "a/S/2 depends on a/S/1, which is stale"],
            unplanned: ["b/S/0"],
            identical: ["b/S/1"]
        ),
    ]

    @Test(arguments: cases)
    func saysWhatBecameOfEachChange(of example: Case) throws {
        let plan = Self.plan
        let saved = try SavedPlan(file: Array(plan.document(digestKey: "key").prettyJSON.utf8))
        var now = plan
        example.change(&now)
        let comparison = compare(saved, with: now)
        #expect(comparison.identical.map(\.address.description) == example.identical)
        #expect(comparison.stale.map { "\($0.planned.address) \($0.reason)" } == example.stale)
        #expect(comparison.unneeded.map(\.description) == example.unneeded)
        #expect(comparison.unplanned.map(\.address.description) == example.unplanned)
    }

    @Test func whatIsCreatedIsHeldWhereItWasPlanned() throws {
        var plan = Self.plan
        plan.actions[0].operation = .create
        let saved = try SavedPlan(file: Array(plan.document(digestKey: "key").prettyJSON.utf8))
        #expect(compare(saved, with: plan).identical == plan.actions)
        plan.inventories["a"] = "kube-system/other"
        let comparison = compare(saved, with: plan)
        #expect(comparison.identical.map(\.address.description) == ["a/S/2", "b/S/1"])
        #expect(comparison.stale.first?.reason.contains("would be held in the inventory kube-system/other here, not in kube-system/a") == true)
    }

    @Test func nothingIsPrunedWhereSomethingDeclaredIsNotMadeSo() throws {
        var plan = Self.plan
        var prune = Self.action("a/S/9", desired: 1)
        prune.operation = .delete
        prune.isUndeclared = true
        plan.actions.append(prune)
        let saved = try SavedPlan(file: Array(plan.document(digestKey: "key").prettyJSON.utf8))
        #expect(compare(saved, with: plan).identical == plan.actions)

        var elsewhere = plan
        elsewhere.actions[2].fingerprint = "other"
        #expect(compare(saved, with: elsewhere).identical.contains(prune))

        var stale = plan
        stale.actions[1].fingerprint = "other"
        let one = compare(saved, with: stale)
        #expect(one.identical.map(\.address.description) == ["a/S/1", "b/S/1"])
        #expect(one.stale.last?.reason == "stays until all else at a is as declared: waits for a/S/2, which is stale")

        var more = plan
        more.actions.insert(Self.action("a/S/3", desired: 1), at: 0)
        let other = compare(saved, with: more)
        #expect(other.identical.map(\.address.description) == ["a/S/1", "a/S/2", "b/S/1"])
        #expect(other.stale.map(\.reason) == ["stays until all else at a is as declared: waits for a/S/3, which was not planned"])
    }

    @Test func aStaleChangeIsShownAsADiff() throws {
        let saved = try SavedPlan(file: Array(Self.plan.document(digestKey: "key").prettyJSON.utf8))
        var now = Self.plan
        now.actions[1].fields[0].observed = 5
        now.actions[1].fingerprint = "other"
        now.unchanged.append(now.actions.remove(at: 2).address)
        now.actions.append(Self.action("c/S/\u{1B}[31m", desired: 1))
        #expect(
            compare(saved, with: now).text(style: Style(isColoured: false)) == #"""
                Stale: planned, and no longer what would be done
                  ≠ a/S/2: what is live there has changed since
                        update
                      - x: 1 → 2
                      + x: 5 → 2
                        $ set x 2

                No longer needed: is as declared already
                  = b/S/1

                Not part of the plan, so not run: plan again to see it in full
                  ? c/S/\u{1B}[31m
                        update
                        x: 1 → 1
                        $ set x 1

                """#
        )
    }

    // MARK: Over random worlds

    @Test(arguments: 0..<300)
    func whatRunsWasPlannedAndIsTheSame(seed: UInt64) async throws {
        var random = Seeded(seed)
        let (world, pass) = ConvergenceTests.scenario(&random, faults: false)
        let first = await pass.plan(observer: world.observer)
        let saved = try SavedPlan(file: Array(first.document(digestKey: "key").prettyJSON.utf8))
        let untouched = compare(saved, with: first)
        #expect(untouched.identical == first.actions && untouched.stale.isEmpty && untouched.unneeded.isEmpty && untouched.unplanned.isEmpty)

        // Somebody else's hand.
        let replaced = pass.desired.targets.map(\.name).filter { _ in Int.random(in: 0..<8, using: &random) == 0 }
        world.state.withLock { state in
            state.replaced = Set(replaced)
            for target in pass.desired.targets.map(\.name) where Int.random(in: 0..<10, using: &random) == 0 { state.dead.insert(target) }
            for resource in pass.desired.resources where Int.random(in: 0..<4, using: &random) == 0 {
                let name = String(resource.address.resource.split(separator: "/")[1])
                state.settings[resource.address.target]?[name] = [nil, 0, 1, 2][Int.random(in: 0..<4, using: &random)]
            }
        }
        let before = world.state.withLock { $0.settings }
        let now = await pass.plan(observer: world.observer)
        let comparison = compare(saved, with: now)

        // Each change of the file and each action of the new plan is in exactly one list.
        let lists = [comparison.identical.map(\.address), comparison.stale.map(\.planned.address), comparison.unneeded].flatMap(\.self)
        #expect(lists.count == Set(lists).count && Set(lists) == Set(saved.changes.map(\.address)))
        let new = Set(comparison.identical.map(\.address)).union(comparison.unplanned.map(\.address))
        #expect(new.union(comparison.stale.filter { $0.now != nil }.map(\.planned.address)) == Set(now.actions.map(\.address)))

        var part = now
        part.actions = comparison.identical
        let events = Mutex<[ApplyEvent]>([])
        let report: @Sendable (ApplyEvent) -> Void = { event in events.withLock { $0.append(event) } }
        world.state.withLock { $0.log = [] }
        let summary = await apply(
            part,
            desired: pass.desired,
            kinds: pass.kinds,
            collaborators: world.collaborators,
            options: ApplyOptions(counted: reportUnrun(comparison, report: report)),
            report: report
        )
        #expect(summary.planned == summary.succeeded + summary.failed + summary.skipped + summary.stale)
        #expect(events.withLock { $0 }.count { if case .planned = $0 { true } else { false } } == summary.planned)

        let log = Set(world.state.withLock { $0.log })
        #expect(log == Set(comparison.identical.map(\.address.description)))
        let planned = Dictionary(first.actions.map { ($0.address, $0) }) { first, _ in first }
        for action in comparison.identical {
            let name = String(action.address.resource.split(separator: "/")[1])
            #expect(!replaced.contains(action.address.target))
            #expect(planned[action.address]?.steps == action.steps)
            // The world was there as it was when the file was written.
            #expect(before[action.address.target]?[name].map { Value.int(Int64($0)) } == planned[action.address]?.fields.first?.observed)
        }
        for address in comparison.unneeded { #expect(now.unchanged.contains(address)) }
    }

    @Test func withStopNothingRunsAndEverythingHasAnEnd() throws {
        let saved = try SavedPlan(file: Array(Self.plan.document(digestKey: "key").prettyJSON.utf8))
        var now = Self.plan
        now.actions[1].fingerprint = "other"
        let events = Mutex<[ApplyEvent]>([])
        let summary = refuseStale(compare(saved, with: now), plan: now) { event in events.withLock { $0.append(event) } }
        #expect(summary.stale == 1 && summary.skipped == 2 && summary.planned == 3 && !summary.isComplete)
        #expect(
            events.withLock { $0 }.map { $0.document.lineJSON } == [
                #"{"address":"a/S/2","message":"update","type":"planned"}"#,
                #"{"address":"a/S/2","message":"what is live there has changed since","type":"stale"}"#,
                #"{"address":"a/S/1","message":"update","type":"planned"}"#,
                #"{"address":"a/S/1","message":"nothing is run, since other actions of the plan are stale","type":"skipped"}"#,
                #"{"address":"b/S/1","message":"update","type":"planned"}"#,
                #"{"address":"b/S/1","message":"nothing is run, since other actions of the plan are stale","type":"skipped"}"#,
                ApplyEvent.summary(summary).document.lineJSON,
            ]
        )
    }

    @Test func whatAPatchOnlyTestsIsNoPartOfTheStep() {
        func digest(_ operations: Value) -> String {
            var action = Self.action("home/v1/Service/default/x", desired: 1)
            let request = Step.Request(method: "PATCH", path: "/x", contentType: "application/json-patch+json", body: operations)
            action.steps = [Step(.send(request), summary: "give up")]
            return action.stepsDigest
        }
        let removal: Value = ["op": "remove", "path": "/metadata/managedFields/1"]
        let guarded = digest([["op": "test", "path": "/metadata/resourceVersion", "value": "1"], removal])
        #expect(guarded == digest([["op": "test", "path": "/metadata/resourceVersion", "value": "2"], removal]))
        #expect(guarded != digest([["op": "remove", "path": "/metadata/managedFields/2"]]))
    }

    static let plan: Plan = {
        var plan = withoutInventory
        plan.inventories = ["a": "kube-system/a"]
        return plan
    }()

    private static let withoutInventory = Plan(
        planID: "0123456789abcdef",
        revision: nil,
        source: "state",
        contentHash: "c0ffee",
        selection: ["a/*", "b"],
        identities: ["a": "machine a", "b": "machine b"],
        actions: [action("a/S/1", desired: 2), action("a/S/2", desired: 2), action("b/S/1", desired: .double(2))],
        unchanged: [World.address("b/S/9")]
    )

    static func action(_ address: String, desired: Value) -> Action {
        Action(
            address: World.address(address),
            kind: "S",
            handler: "S",
            operation: .update,
            fields: [FieldDifference(path: "x", observed: 1, desired: desired)],
            steps: [Step(.run(arguments: ["set"], input: "\(desired)"), summary: "set x \(desired)")],
            fingerprint: "f"
        )
    }
}
