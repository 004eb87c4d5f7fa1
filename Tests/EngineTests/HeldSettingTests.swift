import DriftDetection
import Planning
import Reconciling
import ResourceModel
import Testing
import Values
import YAML

/// What becomes of host settings that Plumb changed and nobody declares any more.
struct HeldSettingTests {
    private static let nowhere = SourcePosition(file: "specs.yaml", line: 1, column: 1)

    private static func host(_ name: String) -> Target { .host(Host(name: name, address: name, position: nowhere)) }

    /// Declares the fields that its spec has; gives up by asserting what was before.
    private static let kind = RegisteredKind(
        name: "Dial",
        decode: { _ in [] },
        probe: [],
        detect: { resources, _ in
            resources.map {
                ResourceDrift(
                    address: $0.address,
                    kind: "Dial",
                    handler: "Dial",
                    standing: .differs,
                    differences: [FieldDifference(path: "a", observed: 2, desired: $0.fields["a"])]
                )
            }
        },
        change: { _ in Change(steps: [Step(.run(arguments: ["turn"]), summary: "turn")]) },
        declares: { resource, address, path in resource.address == address && resource.fields[path] != nil },
        relinquish: { held, restores in
            guard restores, let before = held.fields.first?.before else { return Relinquishment(stays: held.words) }
            return Relinquishment(assertions: [.init(resource: held.address.resource, fields: ["a": before])])
        }
    )

    private static func held(_ target: String, _ fields: [HeldSetting.Field]) -> HeldSetting {
        HeldSetting(address: ResourceAddress(target: target, resource: "Dial/x"), kind: "Dial", handler: "Dial", fields: fields)
    }

    private static func desired(_ fields: Value, at target: String = "pi-1") -> DesiredState {
        DesiredState(
            targets: [host("pi-1"), host("pi-2")],
            resources: [
                DesiredResource(
                    kind: "Dial",
                    handler: "Dial",
                    address: ResourceAddress(target: target, resource: "Dial/x"),
                    fields: fields,
                    origins: []
                )
            ],
            contentHash: ""
        )
    }

    private static let a = HeldSetting.Field(path: "a", before: 1, applied: 2)
    private static let b = HeldSetting.Field(path: "b", before: nil, applied: 3)

    @Test func fieldsThatNobodyDeclaresAreOrphans() {
        let held = [Self.held("pi-1", [Self.a, Self.b]), Self.held("gone", [Self.a])]
        let orphans = orphans(of: held, in: Self.desired(["a": 2]), kinds: [Self.kind])
        #expect(orphans == [Self.held("gone", [Self.a]), Self.held("pi-1", [Self.b])])
        #expect(
            orphans.map(\.orphanNote) == [
                "gone/Dial/x is no longer declared; the host is left as it is (a 2, was 1 before Plumb). To give it up: plumb release gone/Dial/x [--restore]",
                "pi-1/Dial/x is no longer declared; the host is left as it is (b 3, was none before Plumb). To give it up: plumb release pi-1/Dial/x [--restore]",
            ]
        )
    }

    private func notes(held: [HeldSetting], repeats: Bool = false, globs: [String] = [], observed: ObservedState = ObservedState()) -> [String] {
        var pass = Pass(
            desired: DesiredState(targets: [Self.host("pi-1")], resources: [], contentHash: ""),
            kinds: [Self.kind],
            source: "",
            selection: Selection(globs.map(AddressGlob.init)),
            concurrency: 1
        )
        pass.held = held
        pass.repeatsOrphans = repeats
        return pass.plan(pass.observedPart, observed: observed).notes
    }

    @Test func anOrphanIsSaidOnce() {
        var reported = Self.a
        reported.isReported = true
        #expect(notes(held: [Self.held("pi-1", [Self.a])]).count == 1)
        #expect(notes(held: [Self.held("pi-1", [reported])]).isEmpty)
        #expect(notes(held: [Self.held("pi-1", [reported])], repeats: true).count == 1)
        // What is new is said, and nothing else.
        let both = notes(held: [Self.held("pi-1", [reported, Self.b])])
        #expect(both.count == 1 && both[0].contains("(b 3, was none before Plumb)"))
        #expect(notes(held: [Self.held("pi-1", [.init(path: "a", before: 1, applied: 1)])]).isEmpty, "as if Plumb had never been there")
    }

    @Test func nothingIsSaidOfWhatNobodyAskedForOrOfWhoGaveNoAnswer() {
        let held = [Self.held("pi-1", [Self.a])]
        #expect(notes(held: held, globs: ["pi-1/Dial/x"]).count == 1)
        #expect(notes(held: held, globs: ["pi-1/Other/*"]).isEmpty)
        let failed = ObservedState(targets: ["pi-1": .failed(Problem(target: "pi-1", status: .blocked, message: "another one"))])
        #expect(notes(held: held, observed: failed).isEmpty)
    }

    @Test func releasingIsPlannedLikeAnythingElse() {
        let settings = [Self.held("pi-2", [Self.a]), Self.held("pi-1", [Self.a])]
        let left = Releasing(settings, restores: false, targets: [Self.host("pi-1"), Self.host("pi-2")], kinds: [Self.kind])
        #expect(left.desired.resources.isEmpty)
        #expect(left.stays == ["pi-1/Dial/x: a 2, was 1 before Plumb", "pi-2/Dial/x: a 2, was 1 before Plumb"])

        let back = Releasing(settings, restores: true, targets: [Self.host("pi-1"), Self.host("pi-2")], kinds: [Self.kind])
        #expect(back.stays.isEmpty && back.desired.resources.map(\.fields) == [["a": 1], ["a": 1]])
        let observed = ObservedState(targets: [
            "pi-1": .observed(TargetFacts(identity: "one", facts: .host([:]))),
            "pi-2": .failed(Problem(target: "pi-2", status: .unreachable, message: "off")),
        ])
        let plan = Pass(desired: back.desired, kinds: [Self.kind], source: "", concurrency: 1).plan(back.desired, observed: observed)
        #expect(plan.actions.map(\.address.description) == ["pi-1/Dial/x"])
        let one = Set(plan.actions.map(\.address))
        #expect(back.givenUp(after: plan, succeeded: one).map(\.address.target) == ["pi-1"])
        #expect(back.givenUp(after: plan, succeeded: []).isEmpty)
    }

    @Test(arguments: [
        ("pi-1", true), ("pi-1/NetworkInterface/wlan0", true), ("pi-1/NetworkInterface/wlan0/persist", true), ("*", true), ("pi-?/*", true),
        ("pi-1/NetworkInterface/wlan", false), ("pi-10", false), ("pi", false),
    ])
    func aNameMeansAllBelowIt(pattern: String, isIncluded: Bool) {
        let address = ResourceAddress(target: "pi-1", resource: "NetworkInterface/wlan0/persist")
        #expect(AddressGlob(pattern).includes(address) == isIncluded)
    }
}
