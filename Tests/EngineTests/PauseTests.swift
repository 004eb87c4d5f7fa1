import DriftDetection
import Observing
import Planning
import Reconciling
import ResourceModel
import Testing
import Values
import YAML

/// What is paused is looked at, reported and left alone; so is what waits for it.
struct PauseTests {
    private let noon = Moment(milliseconds: 1_785_585_600_000)

    private func command(_ scope: Pause.Scope, until: Moment? = nil) -> Pause {
        Pause(scope, reason: "looking into it", by: "alice@laptop", since: noon, until: until, origin: .command)
    }

    /// `a/Setting/x` is another value, `a/Setting/y` is missing, `a/Setting/z` is to go, `a/Setting/s` is as declared; `b/Setting/w` waits for x.
    private func plan(_ pauses: [Pause], host: [Pause] = [], _ change: (inout DesiredState) -> Void = { _ in }) async -> Plan {
        var state = World.State()
        state.settings["a"] = ["x": 1, "z": 1, "s": 1]
        let world = World(state)
        var desired = DesiredState(
            targets: ["a", "b"].map { World.host($0) },
            resources: [
                World.setting("a/Setting/s", 1, line: 4), World.setting("a/Setting/x", 2, line: 1), World.setting("a/Setting/y", 1, line: 2),
                World.setting("a/Setting/z", nil, line: 3), World.setting("b/Setting/w", 1, dependsOn: ["a/Setting/x"], line: 5),
            ],
            contentHash: "hash"
        )
        change(&desired)
        var pass = Pass(desired: desired, kinds: [World.kind], source: "state", concurrency: 2)
        pass.pauses = pauses
        return await pass.plan(observer: { target, _ in
            guard case .observed(var facts) = world.observation(of: target) else { return world.observation(of: target) }
            if target.name == "a" { facts.pauses = host }
            return .observed(facts)
        })
    }

    private func words(_ plan: Plan) -> [String] {
        (plan.actions.map { "\($0.address) \($0.operation.rawValue)" }
            + plan.problems.map { "\($0.address?.description ?? $0.target) \($0.status.rawValue)" }).sorted()
    }

    private static let everything = [
        "a/Setting/x update", "a/Setting/y create", "a/Setting/z delete", "b/Setting/w create",
    ]

    @Test func oneAddressWithWhatWaitsForIt() async {
        let plan = await plan([command(.addresses("a/Setting/x"), until: noon + .seconds(14_400))])
        #expect(words(plan) == ["a/Setting/x held", "a/Setting/y create", "a/Setting/z delete", "b/Setting/w blocked"])
        #expect(
            plan.problems.map(\.message) == [
                "paused by alice@laptop since 2026-08-01 12:00:00 UTC until 2026-08-01 16:00:00 UTC: looking into it. It differs in value (1 → 2). "
                    + "To go on: plumb resume a/Setting/x",
                "waits for a/Setting/x (held)",
            ]
        )
        #expect(plan.unchanged == [World.address("a/Setting/s")], "what is as declared is no problem")
    }

    @Test(
        arguments: [
            (.addresses("a/*"), ["a/Setting/x held", "a/Setting/y held", "a/Setting/z held", "b/Setting/w blocked"]),
            (.addresses("a"), ["a/Setting/x held", "a/Setting/y held", "a/Setting/z held", "b/Setting/w blocked"]),
            (.target("a"), ["a/Setting/x held", "a/Setting/y held", "a/Setting/z held", "b/Setting/w blocked"]),
            (.target("b"), ["a/Setting/x update", "a/Setting/y create", "a/Setting/z delete", "b/Setting/w held"]),
            (.addresses("?/Setting/y"), ["a/Setting/x update", "a/Setting/y held", "a/Setting/z delete", "b/Setting/w create"]),
            (.all, ["a/Setting/x held", "a/Setting/y held", "a/Setting/z held", "b/Setting/w held"]),
            (.addresses("c/*"), everything), (.target("c"), everything), (.addresses("a/Setting/s"), everything),
        ] as [(Pause.Scope, [String])]
    )
    func eachScope(scope: Pause.Scope, expected: [String]) async {
        #expect(words(await plan([command(scope)])) == expected)
    }

    @Test func whatAHostSaysHoldsForThatHostAlone() async {
        let plan = await plan([], host: [Pause(.all, reason: "do not touch", origin: .host)])
        #expect(words(plan) == ["a/Setting/x held", "a/Setting/y held", "a/Setting/z held", "b/Setting/w blocked"])
        #expect(
            plan.problems.first?.message
                == "paused on the host by /etc/plumb/pause: do not touch. It differs in value (1 → 2). To go on, remove that file there"
        )
    }

    @Test func aSpecPausesWhatComesOfIt() async {
        let plan = await plan([]) { desired in
            desired.resources[2].instructions.pause = Pause(.all, reason: "later", by: "specs.yaml:2:9", origin: .spec)
            desired.pauses = [Pause(.target("b"), reason: "moved", by: "hosts.yaml:1:1", origin: .spec)]
        }
        #expect(words(plan) == ["a/Setting/x update", "a/Setting/y held", "a/Setting/z delete", "b/Setting/w held"])
        #expect(
            plan.problems.first?.message.hasPrefix("paused by the annotation plumb/pause in the specs (specs.yaml:2:9): later. It is missing.")
                == true
        )
    }

    /// A glob becomes chains under other addresses, which share its origin. A spec that meets a paused one elsewhere is not paused there.
    @Test func aPatternPausesAllThatItStandsFor() {
        func origin(_ line: Int) -> SourcePosition { SourcePosition(file: "s.yaml", line: line, column: 1) }
        func resource(_ address: String, _ origins: [Int], pause: Bool = false) -> DesiredResource {
            var resource = DesiredResource(
                kind: "K",
                handler: "K",
                address: World.address(address),
                fields: [:],
                origins: origins.map(origin)
            )
            if pause { resource.instructions.pause = Pause(.all, reason: "why", origin: .spec) }
            return resource
        }
        func found(_ address: String, _ origins: [Int]) -> ResourceDrift {
            ResourceDrift(address: World.address(address), kind: "K", handler: "K", standing: .surplus, origins: origins.map(origin))
        }
        var drift = Drift(resources: [
            found("a/K/nat-OLD_1", [1]), found("a/K/nat-OTHER", [2]), found("a/K/wlan0/persist", [3, 4]), found("a/K/wlan1", [4]),
            found("b/K/nat-OLD_1", [1]),
        ])
        let desired = DesiredState(
            targets: [],
            resources: [
                resource("a/K/OLD_*", [1], pause: true), resource("a/K/OTHER*", [2]), resource("a/K/wlan0", [3, 4], pause: true),
                resource("a/K/wlan1", [4]),
            ],
            contentHash: ""
        )
        drift.hold([], desired)
        #expect(drift.resources.map(\.isPaused) == [true, false, true, false, false])
    }

    @Test func endsWithItsTime() {
        let pause = command(.all, until: noon + .seconds(60))
        #expect(pause.isActive(at: noon) && pause.isActive(at: noon + .milliseconds(59_999)))
        #expect(!pause.isActive(at: noon + .seconds(60)))
        #expect(command(.all).isActive(at: noon + .seconds(1_000_000_000)))
    }

    @Test func ofSeveralTheLastToEndCounts() {
        let pauses = [
            command(.all, until: noon + .seconds(5)), command(.target("a"), until: noon + .seconds(9)), command(.addresses("b/*")),
            command(.all, until: noon + .seconds(7)),
        ]
        #expect(pauses.pause(of: World.address("a/Setting/x")) == pauses[1])
        #expect(pauses.pause(of: World.address("b/Setting/x")) == pauses[2])
        #expect(pauses.pause(of: World.address("c/Setting/x")) == pauses[3])
        #expect([Pause]().pause(of: World.address("c/Setting/x")) == nil)
    }

    @Test func aPausedObjectKeepsWhatWouldBePruned() {
        func resource(_ name: String, _ standing: ResourceDrift.Standing, isUndeclared: Bool = false, phase: Int = 0) -> ResourceDrift {
            var drift = ResourceDrift(
                address: World.address("a/Setting/\(name)"),
                kind: "Setting",
                handler: "Setting",
                standing: standing,
                phase: phase
            )
            drift.isUndeclared = isUndeclared
            return drift
        }
        func statuses(_ scope: Pause.Scope, _ resources: [ResourceDrift]) -> [String] {
            var drift = Drift(resources: resources, identities: ["a": "a"])
            drift.hold([command(scope)], DesiredState(targets: [], resources: [], contentHash: ""))
            return words(Planning.plan(drift, kinds: [World.kind], contentHash: "", revision: nil, source: "state"))
        }
        let renamed = [resource("new", .missing), resource("old", .surplus, isUndeclared: true, phase: 101)]
        #expect(statuses(.addresses("a/Setting/new"), renamed) == ["a/Setting/new held", "a/Setting/old blocked"])
        #expect(statuses(.addresses("a/Setting/old"), renamed) == ["a/Setting/new create", "a/Setting/old held"])
        let chain = [resource("inner", .surplus, isUndeclared: true, phase: 101), resource("outer", .surplus, isUndeclared: true, phase: 102)]
        #expect(statuses(.addresses("a/Setting/inner"), chain) == ["a/Setting/inner held", "a/Setting/outer blocked"])
        #expect(statuses(.addresses("a/Setting/outer"), chain) == ["a/Setting/inner delete", "a/Setting/outer held"])
    }

    @Test func aSpecOrItsKindSaysHowLongToSettle() async {
        let plan = await plan([]) { desired in
            desired.resources[1].instructions.settle = .seconds(5)
        }
        #expect(plan.actions.filter { $0.settle > .zero }.map(\.address) == [World.address("a/Setting/x")])
        var drift = Drift(
            resources: ["x", "y"].map {
                ResourceDrift(address: World.address("a/K/\($0)"), kind: "K", handler: "K", standing: .surplus)
            }
        )
        var kind = World.kind
        kind.name = "K"
        kind.settle = { $0.resource == "K/y" ? .seconds(60) : .zero }
        drift.noteSettle(DesiredState(targets: [], resources: [], contentHash: ""), kinds: [kind])
        #expect(drift.resources.map(\.settle) == [.zero, .seconds(60)])
    }
}
