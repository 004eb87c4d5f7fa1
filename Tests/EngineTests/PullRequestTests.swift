import Observing
import Planning
import Reconciling
import Reporting
import ResourceModel
import Synchronization
import Testing
import Values
import YAML

/// Two revisions against one world: whose is a difference, and what a stranger's pull request can find out.
struct PullRequestTests {
    // MARK: Sets

    /// What holds for any two revisions and any world.
    @Test(arguments: 0..<400) func changesAndDriftShareNothingAndLeaveNothingOut(seed: UInt64) async {
        var random = Seeded(seed)
        let scene = Scene(&random)
        let outcome = await scene.outcome()
        let difference = outcome.difference
        #expect(difference.drift == outcome.base.actions)

        func fields(_ address: ResourceAddress, _ operation: Action.Operation, _ fields: [FieldDifference]) -> [Field] {
            fields.map { Field(address: address, operation: operation, difference: $0) }
        }
        let changed = Set(difference.changes.flatMap { fields($0.action.address, $0.action.operation, $0.fields) })
        let drifted = Set(difference.drift.flatMap { fields($0.address, $0.operation, $0.fields) })
        #expect(changed.isDisjoint(with: drifted))
        let planned = Set(outcome.head.actions.flatMap { fields($0.address, $0.operation, $0.fields) })
        #expect(planned.isSubset(of: changed.union(drifted)) && changed.isSubset(of: planned))
        // What the base would do and the head would not has ended, or is done in another way.
        let ended = Set(difference.ended.flatMap { fields($0.action.address, $0.action.operation, $0.fields) })
        #expect(ended.isSubset(of: drifted) && ended.isDisjoint(with: planned))
        let replaced = Set(difference.changes.map(\.action.address))
        #expect(drifted.subtracting(planned).subtracting(ended).allSatisfy { replaced.contains($0.address) })

        #expect(Set(difference.newProblems + difference.standingProblems) == Set(outcome.head.problems))
        #expect(Set(difference.endedProblems + difference.standingProblems) == Set(outcome.base.problems))
    }

    @Test(arguments: 0..<100) func theSameSpecsChangeNothing(seed: UInt64) async {
        var random = Seeded(seed)
        var scene = Scene(&random)
        scene.head = scene.base
        for isForStranger in [false, true] {
            scene.isForStranger = isForStranger
            let difference = await scene.outcome().difference
            #expect(difference.changes.isEmpty && difference.ended.isEmpty && difference.newProblems.isEmpty && difference.endedProblems.isEmpty)
        }
    }

    @Test(arguments: 0..<50) func eachTargetIsAskedOnce(seed: UInt64) async {
        var random = Seeded(seed)
        let scene = Scene(&random)
        _ = await scene.outcome()
        let asked = scene.asked.targets.withLock { $0.map(\.name) }
        #expect(Set(asked).count == asked.count)
        #expect(Set(asked) == Set((scene.base.resources + scene.head.resources).map(\.address.target)))
    }

    @Test func whatEndsSaysWhy() async {
        var scene = Scene(
            base: ["a/Setting/x": 1, "a/Setting/y": 1, "a/Setting/z": 1, "b/Setting/x": 1],
            head: ["a/Setting/x": 5, "a/Setting/z": 2, "b/Setting/x": 1],
            live: ["a": ["x": 5, "y": 5, "z": 5], "b": ["x": 5]]
        )
        let difference = await scene.outcome().difference
        #expect(difference.changes.map(\.action.address.description) == ["a/Setting/z"])
        let ended = Dictionary(difference.ended.map { ($0.action.address.description, $0.reason) }) { first, _ in first }
        #expect(ended == ["a/Setting/x": .isLive, "a/Setting/y": .isUndeclared])
        // The other one is in the way of what depends on it.
        scene.head.resources[2].dependsOn = [World.address("c/Setting/x")]
        let second = await scene.outcome().difference
        #expect(second.ended.last?.reason == .isProblem(.blocked) && second.newProblems.count == 1)
    }

    @Test func theSameFieldsByOtherStepsAreAChange() {
        func plan(_ command: String, _ risk: Risk = .none) -> Plan {
            let action = Action(
                address: World.address("a/Setting/x"),
                kind: "Setting",
                handler: "Setting",
                operation: .update,
                fields: [FieldDifference(path: "value", observed: 1, desired: 2)],
                steps: [Step(.run(arguments: [command]), summary: "")],
                risk: risk,
                fingerprint: "f"
            )
            return Plan(planID: "", revision: nil, source: "", actions: [action])
        }
        #expect(PlanDifference(from: plan("a"), to: plan("a")).changes.isEmpty)
        for other in [plan("b"), plan("a", .disconnecting)] {
            let difference = PlanDifference(from: plan("a"), to: other)
            #expect(difference.changes.count == 1 && difference.changes.first?.fields == [])
        }
    }

    // MARK: Strangers

    /// SECURITY.md, "What is read": whatever the world is like where the base declares nothing, the report is the same to the byte.
    @Test(arguments: 0..<300) func aStrangerLearnsNothingBeyondTheBase(seed: UInt64) async {
        var random = Seeded(seed)
        var scene = Scene(&random)
        scene.isForStranger = true
        let first = await scene.report()
        let declared = Set(scene.base.resources.map(\.address.description))
        // Everything else becomes something else, and hosts that only the head has come and go.
        scene.world.state.withLock { state in
            for host in Scene.hosts {
                for name in Scene.names where !declared.contains("\(host)/Setting/\(name)") {
                    state.settings[host, default: [:]][name] = Bool.random(using: &random) ? Int.random(in: 0...3, using: &random) : nil
                }
                if !scene.base.targets.contains(where: { $0.name == host }) { state.dead.formSymmetricDifference([host]) }
            }
        }
        let second = await scene.report()
        #expect(first.document == second.document)
        #expect(first.markdown() == second.markdown())
        #expect(Set((first.changes + first.drifted).map(\.address.description)).isSubset(of: declared))
        #expect(first.planID == nil && first.basePlanID == nil)
    }

    /// SECURITY.md, "Guesses": where values are hidden, what a head declares otherwise is not held against what is live.
    @Test(arguments: 0..<100) func aStrangerCanNotGuessHiddenValues(seed: UInt64) async {
        var random = Seeded(seed)
        var scene = Scene(&random)
        (scene.isForStranger, scene.hidesValues) = (true, true)
        let report = await scene.report()
        #expect(report.changes.isEmpty)
        #expect((report.changes + report.drifted).flatMap(\.fields).allSatisfy { $0.observed == "(hidden)" })
        #expect(report.ended.allSatisfy { $0.why != "the head declares what is live" })
    }

    /// SECURITY.md, "Who is contacted".
    @Test(arguments: 0..<100) func aStrangerLeadsNobodyAnywhere(seed: UInt64) async {
        var random = Seeded(seed)
        var scene = Scene(&random)
        scene.isForStranger = true
        scene.head.targets = scene.head.targets.map { target in
            guard case .host(var host) = target else { return target }
            (host.address, host.user, host.port, host.become, host.hostKeys) = ("evil.example", "root", 2222, .sudo, ["ssh-ed25519 AAAA"])
            return .host(host)
        }
        let report = await scene.report()
        let asked = scene.asked.targets.withLock { $0 }
        #expect(asked.allSatisfy { scene.base.targets.contains($0) })
        #expect(report.targets.filter { $0.operation != .removed }.count == scene.head.targets.count)
        // Who may write is not led astray by a login that is not in force either.
        scene.isForStranger = false
        scene.asked.targets.withLock { $0 = [] }
        _ = await scene.report()
        let names = Set(scene.base.targets.map(\.name))
        #expect(scene.asked.targets.withLock { $0 }.filter { names.contains($0.name) }.allSatisfy { scene.base.targets.contains($0) })
    }

    /// SECURITY.md, "Words": messages of hosts and servers, and reasons, are for those who may write.
    @Test func aStrangerReadsNoWordsOfHosts() async {
        var scene = Scene(base: ["a/Setting/x": 1], head: ["a/Setting/x": 2], live: ["a": ["x": 5]])
        scene.world.state.withLock { $0.dead = ["a"] }
        let open = await scene.report()
        #expect(open.problems.map(\.problem.message) == ["no route to host"])
        scene.isForStranger = true
        #expect(await scene.report().problems.map(\.problem.message) == ["could not be reached"])
    }

    // MARK: What of a head may be compared

    struct Fields: Sendable, CustomTestStringConvertible {
        var name: String
        var base: Value
        var head: Value
        /// What is compared in the end.
        var compared: Value
        /// The paths that are text only.
        var text: [String]
        var apiVersion = "v1"
        var testDescription: String { name }
    }

    @Test(arguments: [
        Fields(name: "equal", base: ["a": 1], head: ["a": 1], compared: ["a": 1], text: []),
        Fields(name: "another value", base: ["a": 1], head: ["a": 2], compared: ["a": 2], text: []),
        Fields(name: "a field more", base: ["a": 1], head: ["a": 1, "b": ["c": 2]], compared: ["a": 1], text: ["b.c"]),
        Fields(name: "a field less", base: ["a": 1, "b": 2], head: ["a": 1], compared: ["a": 1], text: ["b"]),
        Fields(name: "deeper", base: ["a": 1], head: ["a": ["b": 1]], compared: ["a": 1], text: ["a"]),
        Fields(name: "higher", base: ["a": ["b": 1]], head: ["a": 1], compared: ["a": ["b": 1]], text: ["a"]),
        Fields(name: "into an empty one", base: ["a": [:]], head: ["a": ["b": 1]], compared: ["a": [:]], text: ["a"]),
        Fields(name: "taken away by null", base: ["a": 1], head: ["a": nil], compared: ["a": 1], text: ["a"]),
        Fields(name: "a strange name", base: ["a": 1], head: ["a": 1, "x/y\"]": 1], compared: ["a": 1], text: ["[\"x/y\"]\"]"]),
        Fields(
            name: "another image",
            base: ["containers": [["name": "web", "image": "a"]]],
            head: ["containers": [["name": "web", "image": "b"]]],
            compared: ["containers": [["name": "web", "image": "b"]]],
            text: []
        ),
        Fields(
            name: "another element of that list",
            base: ["containers": [["name": "web", "image": "a"]]],
            head: ["containers": [["name": "sidecar", "image": "a"]]],
            compared: ["containers": [["name": "web", "image": "a"]]],
            text: ["containers"]
        ),
        Fields(
            name: "one element more",
            base: ["env": [["name": "A", "value": "1"]]],
            head: ["env": [["name": "A", "value": "1"], ["name": "TOKEN", "value": "guess"]]],
            compared: ["env": [["name": "A", "value": "1"]]],
            text: ["env"]
        ),
        Fields(
            name: "a member more in an element",
            base: ["env": [["name": "A", "value": "1"]]],
            head: ["env": [["name": "A", "value": "1", "more": 2]]],
            compared: ["env": [["name": "A", "value": "1"]]],
            text: ["env"]
        ),
        Fields(
            name: "a list of an unknown kind",
            base: ["apiVersion": "example.org/v1", "items": [["slot": "a", "v": 1]]],
            head: ["apiVersion": "example.org/v1", "items": [["slot": "b", "v": 1]]],
            compared: ["apiVersion": "example.org/v1", "items": [["slot": "a", "v": 1]]],
            text: ["items"]
        ),
    ])
    func onlyDeclaredFieldsAreCompared(fields: Fields) {
        func desired(_ value: Value) -> DesiredState {
            let resource = DesiredResource(
                kind: "Thing",
                handler: "Thing",
                address: World.address("a/Thing/x"),
                fields: value,
                origins: [SourcePosition(file: "s", line: 1, column: 1)]
            )
            return DesiredState(targets: [World.host("a")], resources: [resource], contentHash: "")
        }
        let part = StrangersPart(base: desired(fields.base), head: desired(fields.head), comparesValues: true)
        #expect(part.head.resources.map(\.fields) == [fields.compared])
        #expect(part.declared.flatMap(\.fields).map(\.path) == fields.text)
        let hidden = StrangersPart(base: desired(fields.base), head: desired(fields.head), comparesValues: false)
        // A field less may be left out; no value is another one.
        #expect(hidden.head.resources.map(\.fields) == [fields.name == "a field less" ? fields.compared : fields.base])
    }

    /// SECURITY.md, "Secrets".
    @Test func secretsAreNotLookedAt() {
        func desired(_ secret: String) -> DesiredState {
            let resources = ["Secret", "ConfigMap"].map { kind in
                DesiredResource(
                    kind: kind,
                    handler: "KubernetesObject",
                    address: World.address("home/v1/\(kind)/default/x"),
                    fields: ["apiVersion": "v1", "kind": .string(kind), "data": ["k": .sensitive(SensitiveValue(.string(secret)))]],
                    origins: []
                )
            }
            let cluster = Cluster(name: "home", context: "home", position: SourcePosition(file: "s", line: 1, column: 1))
            return DesiredState(targets: [.cluster(cluster)], resources: resources, contentHash: "")
        }
        let part = StrangersPart(base: desired("hunter1"), head: desired("hunter2"), comparesValues: true)
        #expect(part.base.resources.isEmpty && part.head.resources.isEmpty && part.secrets.count == 2)
        #expect(part.declared.map(\.operation) == [.changed, .changed])
        #expect(part.declared.flatMap(\.fields).allSatisfy { $0.head?.description == "(sensitive)" })
    }

    /// SECURITY.md, "What is read": instructions and dependencies of the head lead nowhere.
    @Test func instructionsOfAStrangerAreText() {
        func desired(_ change: (inout DesiredResource) -> Void) -> DesiredState {
            var resource = World.setting("a/Setting/x", 1, line: 1)
            change(&resource)
            return DesiredState(targets: [World.host("a")], resources: [resource], contentHash: "")
        }
        let base = desired { _ in }
        let head = desired {
            $0.instructions.takesOver = true
            $0.dependsOn = [World.address("b/Setting/secret")]
        }
        let part = StrangersPart(base: base, head: head, comparesValues: true)
        #expect(part.head.resources == base.resources && part.declared.count == 1)
    }

    @Test func loginsAreCompared() {
        let position = SourcePosition(file: "s", line: 1, column: 1)
        let host = Host(name: "a", address: "192.0.2.1", position: position)
        var other = host
        (other.address, other.user) = ("192.0.2.2", "root")
        let clusters = ["home", "away"].map { Target.cluster(Cluster(name: "c", context: $0, position: position)) }
        let found = targetDifferences(from: [.host(host), clusters[0]], to: [.host(other), clusters[1], World.host("new")])
        #expect(found.map(\.name) == ["a", "c", "new"] && found.map(\.operation) == [.changed, .changed, .added])
        #expect(found[0].fields.map(\.path) == ["address", "user"] && found[1].fields.map(\.path) == ["context"])
        #expect(targetDifferences(from: [.host(host)], to: []).map(\.operation) == [.removed])
    }
}

private struct Field: Hashable {
    var address: ResourceAddress
    var operation: Action.Operation
    var difference: FieldDifference
}

/// A world, and two revisions of what is wanted of it.
struct Scene {
    static let hosts = ["a", "b", "c"]
    static let names = ["w", "x", "y", "z"]

    var base: DesiredState
    var head: DesiredState
    var isForStranger = false
    var hidesValues = false
    let world: World
    let asked = Recorder()

    final class Recorder: Sendable { let targets = Mutex<[Target]>([]) }

    init(base: [String: Int], head: [String: Int], live: [String: [String: Int]]) {
        func desired(_ settings: [String: Int]) -> DesiredState {
            let resources = settings.sorted { $0.key < $1.key }.enumerated().map { World.setting($1.key, $1.value, line: $0) }
            return DesiredState(
                targets: Set(resources.map(\.address.target)).sorted().map { World.host($0) },
                resources: resources,
                contentHash: "\(settings.sorted { $0.key < $1.key })"
            )
        }
        (self.base, self.head) = (desired(base), desired(head))
        world = World(World.State(settings: live))
    }

    init(_ random: inout Seeded) {
        func some() -> [String: Int] {
            var settings: [String: Int] = [:]
            for host in Self.hosts where Int.random(in: 0..<4, using: &random) > 0 {
                for name in Self.names where Bool.random(using: &random) {
                    settings["\(host)/Setting/\(name)"] = Int.random(in: 0...3, using: &random)
                }
            }
            return settings
        }
        let base = some()
        // Half of what a head says is what the base says.
        let head = base.filter { _ in Bool.random(using: &random) }.merging(some()) { first, second in Bool.random(using: &random) ? first : second }
        var live: [String: [String: Int]] = [:]
        for host in Self.hosts {
            for name in Self.names where Bool.random(using: &random) { live[host, default: [:]][name] = Int.random(in: 0...3, using: &random) }
        }
        self.init(base: base, head: head, live: live)
        let dead = Self.hosts.filter { _ in Int.random(in: 0..<6, using: &random) == 0 }
        world.state.withLock { $0.dead = Set(dead) }
    }

    var pass: PullRequestPass {
        func pass(_ desired: DesiredState) -> Pass { Pass(desired: desired, kinds: [World.kind], revision: "r", source: "s", concurrency: 4) }
        return PullRequestPass(base: pass(base), head: pass(head), isForStranger: isForStranger, comparesValues: !(isForStranger && hidesValues))
    }

    var collaborators: PullRequestCollaborators {
        let (world, asked) = (world, asked)
        return PullRequestCollaborators(
            observe: { target, _ in
                asked.targets.withLock { $0.append(target) }
                return world.observation(of: target)
            },
            predict: { _, _, facts in facts },
            withoutPast: { $0 },
            withoutPredictions: { $0 }
        )
    }

    func outcome() async -> PullRequestPass.Outcome { await pass.compare(with: collaborators) }

    func report() async -> PullRequestReport {
        let pass = pass
        let outcome = await pass.compare(with: collaborators)
        return PullRequestReport(
            source: "s",
            base: .init(name: "main", commit: String(repeating: "a", count: 40)),
            head: .init(name: "feature", commit: String(repeating: "b", count: 40)),
            audience: .init(isForStranger: isForStranger, hidesValues: hidesValues),
            observedAt: Moment(milliseconds: 0),
            plans: (outcome.base, outcome.head),
            difference: outcome.difference,
            part: pass.strangersPart,
            targets: pass.targets
        )
    }
}
