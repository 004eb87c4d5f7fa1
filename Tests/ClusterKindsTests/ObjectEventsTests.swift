import ClusterKinds
import DriftDetection
import Foundation
import KubernetesAPI
import Planning
import ResourceModel
import SpecLoading
import Testing
import Values
import YAML

/// Events judged without a server: as a full pass would, or not at all.
struct ObjectEventsTests {
    private static let kinds = Dictionary(ClusterKinds.all.map { ($0.name, $0) }) { first, _ in first }

    private static func desired(_ manifests: String) throws -> [DesiredResource] {
        let text = "{apiVersion: plumb/v1, kind: Cluster, metadata: {name: home}, spec: {context: home}}\n---\n\(manifests)"
        let file = SpecFile(path: "specs.yaml", relativePath: "specs.yaml", bytes: Array(text.utf8))
        return try loadSpecs([file], kinds: ClusterKinds.all, options: LoadOptions(contentHash: "")).resources
    }

    private static func object(_ yaml: String, version: Int = 10, uid: String = "uid-1", owners: [(String, Value)] = []) throws -> Value {
        let (documents, error) = parseYAML(Array(yaml.utf8), file: "live")
        if let error { throw error }
        var errors: [YAMLError] = []
        var object = documents.first?.value(errors: &errors) ?? .null
        object["metadata"]?["uid"] = .string(uid)
        object["metadata"]?["resourceVersion"] = .string(String(version))
        let entries = owners.map { manager, fields -> Value in
            [
                "manager": .string(manager), "operation": manager == "plumb" ? "Apply" : "Update", "apiVersion": object["apiVersion"] ?? .null,
                "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
            ]
        }
        if !entries.isEmpty { object["metadata"]?["managedFields"] = .array(entries) }
        return object
    }

    private static func facts(_ resources: [DesiredResource], _ observed: [ObservedObject], verbs: [String] = []) -> TargetFacts {
        var kinds: [String: Value] = [:]
        var objects: [String: ObservedObject] = [:]
        for (resource, object) in zip(resources, observed) {
            let key = "\(resource.fields["apiVersion"]?.stringValue ?? "")/\(resource.kind)"
            kinds[key] = [
                "plural": .string(resource.kind.lowercased() + "s"), "namespaced": .bool(resource.fields[path: "metadata", "namespace"] != nil),
                "verbs": .array(verbs.map(Value.string)),
            ]
            objects[resource.address.resource] = object
        }
        objects["discovery"] = ObservedObject(live: .object(kinds))
        return TargetFacts(identity: "cluster", facts: .cluster(objects))
    }

    /// What one object's event comes to: its standing and the requests, or why only a pass can tell.
    private static func outcome(_ memory: ClusterMemory, _ resource: DesiredResource, _ live: Value?) -> String {
        let judgement = memory.judge([resource], live: [resource.address: live.map(SeenObject.there) ?? .gone])
        if let why = judgement.needsFullPass[resource.address] { return "full pass: \(why)" }
        if judgement.outdated == [resource.address] { return "outdated" }
        return outcome(judgement.resources, judgement.facts)
    }

    private static func outcome(_ resources: [DesiredResource], _ facts: TargetFacts) -> String {
        let drifts = detectDrift(resources: resources, facts: facts, kinds: kinds)
        let plan = Planning.plan(
            Drift(resources: drifts, identities: ["home": facts.identity]),
            kinds: ClusterKinds.all,
            contentHash: "",
            revision: nil,
            source: ""
        )
        var lines = plan.unchanged.map { "\($0): in sync" } + plan.problems.map { "\($0.address?.description ?? ""): \($0.status) \($0.message)" }
        for action in plan.actions {
            lines.append("\(action.address): \(action.operation) \(action.fingerprint) \(action.reason) \(action.risk)")
            for step in action.steps {
                if case .send(let request) = step.operation { lines.append("\(request.method) \(request.path) \(request.body?.exposedJSON ?? "")") }
            }
        }
        return lines.joined(separator: "\n")
    }

    private static let service = """
        apiVersion: v1
        kind: Service
        metadata: {name: kubernetes, namespace: default, annotations: {plumb/manage: fields}}
        spec: {type: LoadBalancer}
        """

    private static func live(_ type: String, version: Int = 10) throws -> Value {
        try object(
            "{apiVersion: v1, kind: Service, metadata: {name: kubernetes, namespace: default}, spec: {type: \(type), clusterIP: 10.43.0.1}}",
            version: version,
            owners: [("k3s", ["f:spec": ["f:type": [:], "f:clusterIP": [:]]])]
        )
    }

    @Test func aFieldOfSomebodyElsesObjectIsPutBackAtOnce() throws {
        let resources = try Self.desired(Self.service)
        let resource = try #require(resources.first)
        let memory = try #require(ClusterMemory(Self.facts(resources, [ObservedObject(live: try Self.live("LoadBalancer"))]), of: resources))
        #expect(memory.identity == "cluster")
        #expect(Self.outcome(memory, resource, try Self.live("LoadBalancer", version: 11)) == "\(resource.address): in sync")
        let changed = try Self.live("ClusterIP", version: 12)
        let said = Self.outcome(memory, resource, changed)
        #expect(said.contains("PATCH /api/v1/namespaces/default/services/kubernetes?fieldManager=plumb&force=true"))
        #expect(said.contains("spec.type was last set by k3s (Update)"))
        // Word for word what a pass would do, in which the server was asked.
        let predicted = try Self.live("LoadBalancer", version: 12)
        #expect(said == Self.outcome(resources, Self.facts(resources, [ObservedObject(live: changed, predicted: predicted)])))
        #expect(Self.outcome(memory, resource, nil).contains("blocked waits for Service default/kubernetes"))
        #expect(Self.outcome(memory, resource, try Self.live("ClusterIP", version: 9)) == "outdated")
        let another = try Self.object("{apiVersion: v1, kind: Service, metadata: {}, spec: {}}", version: 9, uid: "other")
        #expect(Self.outcome(memory, resource, another) != "outdated")
    }

    @Test func aDeletedObjectOfOursNeedsAPass() throws {
        let resources = try Self.desired("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: ns}, data: {k: v}}")
        let resource = try #require(resources.first)
        let live = try Self.object("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: ns}, data: {k: v}}")
        let memory = try #require(ClusterMemory(Self.facts(resources, [ObservedObject(live: live)]), of: resources))
        #expect(Self.outcome(memory, resource, nil) == "full pass: it is gone, and is made anew with what it needs")
        var leaving = live
        leaving["metadata"]?["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        #expect(Self.outcome(memory, resource, leaving).contains("blocked waits for the old one to be gone"))
        let other = try Self.desired("{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: ns}}")
        #expect(Self.outcome(memory, try #require(other.first), nil).hasPrefix("full pass: its kind was not there"))
    }

    /// `{declared, live}` of a field, and whether it is put back at once, is the server's to say, or is the same.
    @Test(
        arguments: [
            ("{replicas: 3}", "{replicas: 2}", "change"), ("{replicas: 3}", "{}", "change"), ("{paused: false}", "{paused: true}", "change"),
            ("{replicas: 3}", "{replicas: \"3\"}", "pass"), ("{cpu: 1000m}", "{cpu: \"1\"}", "pass"), ("{cpu: 1000m}", "{cpu: \"2\"}", "change"),
            ("{list: [a]}", "{list: [b]}", "pass"), ("{list: [a]}", "{}", "pass"), ("{a: {}}", "{}", "pass"), ("{a: {b: c}}", "{}", "change"),
            ("{a: {b: c}}", "{a: text}", "pass"), ("{replicas: 3}", "{replicas: 3, other: 1}", "same"), ("{replicas: 3}", "{replicas: 3.0}", "same"),
            ("{a: null}", "{a: 1}", "pass"),
        ]
    )
    func onlyPlainDifferencesAreJudged(declared: String, found: String, expected: String) throws {
        let resources = try Self.desired("{apiVersion: x.io/v1, kind: Thing, metadata: {name: a, namespace: ns}, spec: \(declared)}")
        let resource = try #require(resources.first)
        let live = try Self.object("{apiVersion: x.io/v1, kind: Thing, metadata: {name: a, namespace: ns}, spec: \(found)}")
        let memory = try #require(ClusterMemory(Self.facts(resources, [ObservedObject(problem: nil)]), of: resources))
        let said = Self.outcome(memory, resource, live)
        switch expected {
        case "change": #expect(said.contains("update") && said.contains("PATCH"), "\(said)")
        case "pass": #expect(said.hasPrefix("full pass: whether spec."), "\(said)")
        default: #expect(said == "\(resource.address): in sync")
        }
    }

    /// A value that the server writes in its own way, always: what a dry-run has found to be no difference is none.
    @Test func whatADryRunHasSettledStaysSettled() throws {
        let resources = try Self.desired("{apiVersion: x.io/v1, kind: Thing, metadata: {name: a, namespace: ns}, spec: {wait: 60s, size: 2}}")
        let resource = try #require(resources.first)
        func live(_ wait: String, _ size: Int, version: Int = 10) throws -> Value {
            let text = "{apiVersion: x.io/v1, kind: Thing, metadata: {name: a, namespace: ns}, spec: {wait: \(wait), size: \(size)}}"
            return try Self.object(text, version: version)
        }
        let settled = ObservedObject(live: try live("1m0s", 2), predicted: try live("1m0s", 2))
        let memory = try #require(ClusterMemory(Self.facts(resources, [settled]), of: resources))
        #expect(Self.outcome(memory, resource, try live("1m0s", 2, version: 11)) == "\(resource.address): in sync")
        // Beside it, what really differs is changed, and nothing else is said to differ.
        let other = Self.outcome(memory, resource, try live("1m0s", 3, version: 12))
        #expect(other == Self.outcome(resources, Self.facts(resources, [ObservedObject(live: try live("1m0s", 3), predicted: try live("1m0s", 2))])))
        #expect(Self.outcome(memory, resource, try live("5s", 2, version: 12)).contains("PATCH"))
        // What was not settled is not taken for settled.
        let differing = ObservedObject(live: try live("5s", 2), predicted: try live("1m0s", 2))
        let unsettled = try #require(ClusterMemory(Self.facts(resources, [differing]), of: resources))
        #expect(Self.outcome(unsettled, resource, try live("5s", 2, version: 11)).contains("PATCH"))
    }

    /// Against a server that never writes what it is sent: after one change there is peace, until somebody else changes it again.
    @Test(arguments: 0..<50)
    func aChangeIsNeverMadeTwiceForOneEvent(seed: Int) throws {
        var random = Double(seed * 7919 % 50)
        func chance(_ bound: Int) -> Int {
            random = (random * 69_069 + 1).truncatingRemainder(dividingBy: 4_294_967_296)
            return Int(random / 65_536) % bound
        }
        let resources = try Self.desired(
            "{apiVersion: x.io/v1, kind: Thing, metadata: {name: a, namespace: ns}, spec: {a: 60s, b: 2, c: true, d: text}}"
        )
        let resource = try #require(resources.first)
        var version = 10
        /// What the server makes of what it gets: other spellings, and what it does not take at all.
        let habits = (0..<4).map { _ in chance(3) }
        func stored(_ spec: [String: Value]) -> [String: Value] {
            var result = spec
            for (index, name) in ["a", "b", "c", "d"].enumerated() {
                switch (habits[index], spec[name] ?? .null) {
                case (1, .string(let text)): result[name] = .string("\(text)!")
                case (1, .int(let number)): result[name] = .int(number * 10)
                case (1, .bool(let isTrue)): result[name] = .bool(!isTrue)
                case (2, _): result[name] = nil
                default: break
                }
            }
            return result
        }
        var live = try Self.object("{apiVersion: x.io/v1, kind: Thing, metadata: {name: a, namespace: ns}}")
        let declared = try #require(resource.fields["spec"]?.objectValue)
        live["spec"] = .object(stored(declared))
        var memory = try #require(ClusterMemory(Self.facts(resources, [ObservedObject(live: live, predicted: live)]), of: resources))
        for round in 0..<20 {
            version += 1
            live["metadata"]?["resourceVersion"] = .string(String(version))
            live["spec"]?[["a", "b", "c", "d"][chance(4)]] = [.string("other \(round)"), .int(Int64(round)), .bool(chance(2) == 0)][chance(3)]
            var changes = 0
            while changes < 3 {
                let judgement = memory.judge(resources, live: [resource.address: .there(live)])
                guard judgement.needsFullPass.isEmpty else {
                    // A pass asks the server what an apply would make of it.
                    var predicted = live
                    predicted["spec"] = .object(stored(declared))
                    memory.learn(Self.facts(resources, [ObservedObject(live: live, predicted: predicted)]), of: resources)
                    let facts = Self.facts(resources, [ObservedObject(live: live, predicted: predicted)])
                    guard let request = Self.request(resources, facts) else { break }
                    changes += 1
                    version += 1
                    live = predicted
                    live["metadata"]?["resourceVersion"] = .string(String(version))
                    _ = memory.learn(from: APIResponse(status: 200, body: live), to: request, of: resource)
                    continue
                }
                guard let request = Self.request(judgement.resources, judgement.facts) else { break }
                changes += 1
                version += 1
                live["spec"] = .object(stored(declared))
                live["metadata"]?["resourceVersion"] = .string(String(version))
                let learnt = memory.learn(from: APIResponse(status: 200, body: live), to: request, of: resource)
                let facts = try #require(learnt)
                #expect(Self.outcome(resources, facts) == "\(resource.address): in sync")
            }
            #expect(changes <= 1, "habits \(habits), round \(round)")
        }
    }

    private static func request(_ resources: [DesiredResource], _ facts: TargetFacts) -> Step.Request? {
        let drifts = detectDrift(resources: resources, facts: facts, kinds: kinds)
        guard let drift = drifts.first, drift.standing == .differs, let kind = kinds[drift.handler] else { return nil }
        guard case .send(let request)? = kind.change(drift).steps.last?.operation else { return nil }
        return request
    }

    /// Letting go of a field comes before the apply: its answer says nothing of what the apply will do.
    @Test func anAnswerToARelinquishmentSettlesNothing() throws {
        let resources = try Self.desired(Self.service)
        let resource = try #require(resources.first)
        var memory = try #require(ClusterMemory(Self.facts(resources, [ObservedObject(live: try Self.live("LoadBalancer"))]), of: resources))
        let answer = APIResponse(status: 200, body: try Self.live("ClusterIP", version: 11))
        let release = Step.Request(method: "PATCH", path: "/x", contentType: ContentType.jsonPatch)
        let learnt = memory.learn(from: answer, to: release, of: resource)
        let facts = try #require(learnt)
        #expect(Self.outcome(resources, facts).contains("update"))
        let nothing = memory.learn(from: APIResponse(status: 404, body: [:]), to: release, of: resource)
        #expect(nothing == nil)
    }

    @Test func aDependencyIsAPassesBusiness() throws {
        let resources = try Self.desired(
            """
            {apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: ns, annotations: {plumb/depends-on: v1/ConfigMap/ns/b}}, data: {k: v}}
            ---
            {apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: ns}, data: {k: v}}
            """
        )
        func live(_ value: String) throws -> Value {
            try Self.object("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: ns}, data: {k: \(value)}}")
        }
        let observed = [ObservedObject(live: try live("v")), ObservedObject(live: try live("v"))]
        let memory = try #require(ClusterMemory(Self.facts(resources, observed), of: resources))
        let first = try #require(resources.first { !$0.dependsOn.isEmpty })
        #expect(Self.outcome(memory, first, try live("v")) == "\(first.address): in sync")
        #expect(Self.outcome(memory, first, try live("w")) == "full pass: it differs, and depends on other resources")
    }

    @Test func secretsStayHidden() throws {
        let resources = try Self.desired("{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: ns}, stringData: {k: hunter2}}")
        let resource = try #require(resources.first)
        func live(_ data: String, _ version: Int) throws -> Value {
            try Self.object("{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: ns}, data: {k: \(data)}}", version: version)
        }
        let same = ObservedObject(live: try live("aHVudGVyMg==", 10))
        let memory = try #require(ClusterMemory(Self.facts(resources, [same], verbs: ["list", "watch"]), of: resources))
        let watches = memory.watches(for: resources)
        let objects = try #require(watches.values.first)
        let seen = objects.seen(in: .changed(try live("aHVudGVyMw==", 11)))
        #expect(seen.count == 1)
        let judgement = memory.judge(resources, live: seen)
        let text = "\(seen) \(judgement) " + Self.outcome(judgement.resources, judgement.facts).replacing("aHVudGVyMg==", with: "what is sent")
        #expect(text.contains("PATCH"))
        for word in ["hunter2", "aHVudGVyM"] { #expect(!text.contains(word)) }
        #expect(Self.outcome(memory, resource, try live("aHVudGVyMg==", 12)) == "\(resource.address): in sync")
    }

    @Test func watchesAreAsFewAsIsSensible() throws {
        func map(_ name: String, _ namespace: String) -> String {
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: \(name), namespace: \(namespace)}}"
        }
        let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: ns}}"
        let manifests = [map("a", "ns"), map("b", "ns"), map("c", "ns"), map("a", "m"), map("b", "m"), namespace]
        let resources = try Self.desired(manifests.joined(separator: "\n---\n"))
        let facts = Self.facts(resources, resources.map { _ in ObservedObject() }, verbs: ["get", "list", "patch", "watch"])
        let memory = try #require(ClusterMemory(facts, of: resources))
        let watches = memory.watches(for: resources)
        #expect(watches.keys.map(\.words).sorted() == ["configmaps in ns", "configmaps m/a", "configmaps m/b", "namespaces ns"])
        #expect(watches.values.flatMap(\.addresses).sorted() == resources.map(\.address).sorted())

        let (group, objects) = try #require(watches.first { $0.key.words == "configmaps in ns" })
        #expect(group.name == nil)
        let item = try Self.object(map("b", "ns"))
        let listed = objects.seen(in: .listed([item, try Self.object(map("stranger", "ns"))]))
        #expect(listed.count == 3)
        #expect(listed.filter { $0.value != .gone }.map(\.key.resource) == ["v1/ConfigMap/ns/b"])
        #expect(objects.seen(in: .deleted(item)) == [ResourceAddress(target: "home", resource: "v1/ConfigMap/ns/b"): .gone])
        #expect(objects.seen(in: .changed(try Self.object(map("stranger", "ns")))).isEmpty)
        #expect(objects.seen(in: .restarted("why")).isEmpty)

        let unwatchable = try #require(ClusterMemory(Self.facts(resources, resources.map { _ in ObservedObject() }, verbs: ["get"]), of: resources))
        #expect(unwatchable.watches(for: resources).isEmpty)
    }

    /// Every case that there is of comparing: an event of the same object either comes to the same, to the byte, or is left to a pass.
    @Test func eventsComeToWhatAPassComesTo() throws {
        var judged = 0
        for file in ObjectCaseTests.files {
            for found in try ObjectCaseTests.cases(ObjectCaseTests.folder.appendingPathComponent(file)) {
                guard case .cluster(let objects) = found.facts.facts else { continue }
                let memory = try #require(ClusterMemory(found.facts, of: found.desired))
                for resource in found.desired {
                    guard let object = objects[resource.address.resource], object.problem == nil, object.unconfirmed == nil else { continue }
                    let said = Self.outcome(memory, resource, object.live)
                    if said.hasPrefix("full pass") { continue }
                    judged += 1
                    var pass = found.facts
                    pass.owned = []
                    #expect(said == Self.outcome([resource], pass), "\(found.name)")
                }
            }
        }
        #expect(judged >= 30)
    }
}
