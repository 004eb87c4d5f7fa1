import DriftDetection
import Observing
import Reconciling
import ResourceModel
import Testing
import Values

/// What replaced values mean for everything that they are a value for.
struct AdoptionCheckTests {
    /// Specs in which these settings have these values; the lines are where they stand.
    private func desired(_ settings: [(String, Int)], hosts: [String] = ["a", "b"]) -> DesiredState {
        DesiredState(
            targets: hosts.map { World.host($0) },
            resources: settings.enumerated().map { World.setting($1.0, $1.1, line: $0 + 1) },
            contentHash: ""
        )
    }

    private func check(
        before: [(String, Int)],
        after: [(String, Int)],
        adopted: [String],
        live: [String: [String: Int]],
        dead: Set<String> = [],
        asked: [String] = ["a", "b"]
    ) -> AdoptionCheck {
        let world = World(World.State(settings: live, dead: dead))
        let observed = ObservedState(targets: Dictionary(uniqueKeysWithValues: asked.map { ($0, world.observation(of: World.host($0))) }))
        let before = desired(before)
        let addresses = Set(adopted.map(World.address))
        let wanted = observedDrift(before, observed: observed, kinds: [World.kind]).resources.filter { addresses.contains($0.address) }
        return AdoptionCheck(
            wanted,
            adopted: addresses,
            before: before,
            after: desired(after),
            observed: observed,
            kinds: [World.kind]
        )
    }

    @Test func whatWasMeantIsInSyncAndNothingElseIsNew() {
        let found = check(
            before: [("a/Setting/x", 1), ("a/Setting/y", 1)],
            after: [("a/Setting/x", 2), ("a/Setting/y", 1)],
            adopted: ["a/Setting/x"],
            // y differs before and after: that is no business of this.
            live: ["a": ["x": 2, "y": 7]]
        )
        #expect(found.remaining.isEmpty && found.elsewhere.isEmpty && found.followUps.isEmpty)
    }

    @Test func whatDiffersAllTheSameIsSaid() {
        let found = check(before: [("a/Setting/x", 1)], after: [("a/Setting/x", 3)], adopted: ["a/Setting/x"], live: ["a": ["x": 2]])
        #expect(found.remaining.map(\.path) == ["value"])
    }

    @Test func anotherThatHasTheSameComesAlong() {
        let found = check(
            before: [("a/Setting/x", 1), ("b/Setting/x", 1)],
            after: [("a/Setting/x", 2), ("b/Setting/x", 2)],
            adopted: ["a/Setting/x"],
            live: ["a": ["x": 2], "b": ["x": 2]]
        )
        #expect(found.remaining.isEmpty && found.elsewhere.isEmpty)
    }

    @Test(arguments: [(1, "differs in value (1 → 2)"), (3, "differs in value (3 → 2)"), (nil, nil)] as [(Int?, String?)])
    func anotherThatDoesNotIsNamed(live: Int?, words: String?) {
        let found = check(
            before: [("a/Setting/x", 1), ("b/Setting/x", 1)],
            after: [("a/Setting/x", 2), ("b/Setting/x", 2)],
            adopted: ["a/Setting/x"],
            live: ["a": ["x": 2], "b": live.map { ["x": $0] } ?? [:]]
        )
        #expect(found.elsewhere.map(\.address.description) == ["b/Setting/x"])
        #expect(found.elsewhere.first?.message == words ?? "is missing")
    }

    @Test(arguments: [["a", "b"], ["a"]])
    func anotherThatCouldNotBeAskedIsNamed(asked: [String]) {
        let found = check(
            before: [("a/Setting/x", 1), ("b/Setting/x", 1)],
            after: [("a/Setting/x", 2), ("b/Setting/x", 2)],
            adopted: ["a/Setting/x"],
            live: ["a": ["x": 2]],
            dead: ["b"],
            asked: asked
        )
        #expect(found.elsewhere.map(\.message) == ["what is live there is not known"])
    }

    @Test func aPartFollows() {
        let found = check(
            before: [("a/Setting/x", 1), ("a/Setting/x/persist", 1)],
            after: [("a/Setting/x", 2), ("a/Setting/x/persist", 2)],
            adopted: ["a/Setting/x"],
            // The world reads a setting's name from its address: both are x.
            live: ["a": ["x": 2]]
        )
        #expect(found.remaining.isEmpty && found.elsewhere.isEmpty && found.followUps.isEmpty)
        let behind = check(
            before: [("a/Setting/x", 1), ("a/Setting/x/persist", 2)],
            after: [("a/Setting/x", 2), ("a/Setting/x/persist", 3)],
            adopted: ["a/Setting/x"],
            live: ["a": ["x": 2]]
        )
        #expect(behind.elsewhere.isEmpty && behind.followUps.map(\.message) == ["differs in value (2 → 3)"])
    }
}
