import ClusterKinds
import KubernetesAPI
import Observing
import Planning
import Reconciling
import ResourceModel
import SpecLoading
import Synchronization
import Testing
import Values

/// What a pull request's report asks of an API server, and what a stranger's pull request can make it say.
struct PullRequestReadingTests {
    /// A namespace with some objects. Everything that is asked is remembered, with what was sent.
    private final class Server: Sendable {
        let asked = Mutex<[(words: String, body: String)]>([])
        private let objects: [String: Value]

        /// - Parameter objects: By path.
        init(_ objects: [String: Value]) { self.objects = objects }

        var send: APISender {
            { (request) throws(APIFailure) in
                self.asked.withLock { $0.append(("\(request.method.rawValue) \(request.path)", request.body?.exposedJSON ?? "")) }
                switch (request.method, request.path) {
                case (_, "/api/v1/namespaces/kube-system"): return APIResponse(status: 200, body: ["metadata": ["uid": "cluster-1"]])
                case (_, "/version"): return APIResponse(status: 200, body: ["major": "1", "minor": "30", "gitVersion": "v1.30.0"])
                case (_, "/api/v1"):
                    let resources = [("ConfigMap", "configmaps"), ("Secret", "secrets")].map { kind, plural -> Value in
                        ["kind": .string(kind), "name": .string(plural), "namespaced": true, "verbs": ["get", "list", "patch"]]
                    }
                    return APIResponse(status: 200, body: ["resources": .array(resources)])
                case (.patch, let path):
                    guard case .object(var body)? = request.body else { break }
                    for (field, value) in self.objects[path]?.objectValue ?? [:] where body[field] == nil { body[field] = value }
                    return APIResponse(status: 200, body: .object(body))
                case (_, let path):
                    if let object = self.objects[path] { return APIResponse(status: 200, body: object) }
                }
                return APIResponse(status: 404, body: ["reason": "NotFound", "message": "not found", "details": ["name": "x", "kind": "things"]])
            }
        }

        var words: [String] { asked.withLock { $0.map(\.words) } }
        var bodies: String { asked.withLock { $0.map(\.body).joined() } }
    }

    private static let path = "/api/v1/namespaces/a/configmaps"

    private static func map(_ name: String, _ data: Value, ours: [String] = []) -> Value {
        let fields = Value.object(Dictionary(uniqueKeysWithValues: ours.map { ("f:\($0)", Value.object([:])) }))
        let entry: Value = ["manager": "plumb", "operation": "Apply", "apiVersion": "v1", "fieldsV1": ["f:data": fields]]
        return [
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": ["name": .string(name), "namespace": "a", "uid": .string("uid-\(name)"), "managedFields": [entry]],
        ]
    }

    private func load(_ manifests: [String]) throws -> DesiredState {
        let text = (["{apiVersion: plumb/v1, kind: Cluster, metadata: {name: home}, spec: {context: c}}"] + manifests).joined(separator: "\n---\n")
        let file = SpecFile(path: "s.yaml", relativePath: "s.yaml", bytes: Array(text.utf8))
        return try loadSpecs([file], kinds: ClusterKinds.all, options: LoadOptions(contentHash: ""))
    }

    private static func manifest(_ kind: String, _ name: String, _ data: String) -> String {
        "{apiVersion: v1, kind: \(kind), metadata: {name: \(name), namespace: a}, data: {\(data)}}"
    }

    private func compare(_ base: [String], _ head: [String], _ server: Server, isForStranger: Bool) async throws -> PullRequestPass.Outcome {
        func pass(_ manifests: [String]) throws -> Pass {
            Pass(desired: try load(manifests), kinds: ClusterKinds.all, source: "s", concurrency: 1)
        }
        let both = PullRequestPass(base: try pass(base), head: try pass(head), isForStranger: isForStranger, comparesValues: true)
        let collaborators = PullRequestCollaborators(
            observe: { _, resources in await ClusterKinds.observe(resources, of: "home", send: server.send) },
            predict: { _, resources, facts in await ClusterKinds.predict(resources, in: facts, of: "home", send: server.send) },
            withoutPast: { ClusterKinds.withoutPast($0) },
            withoutPredictions: { ClusterKinds.withoutPredictions($0) }
        )
        return await both.compare(with: collaborators)
    }

    private static let base = [manifest("ConfigMap", "x", "k: v, same: s"), manifest("Secret", "s", "k: aHVudGVyMQ==")]
    private static let head = [
        manifest("ConfigMap", "x", "k: w, same: s, other: guess"), manifest("ConfigMap", "new", "k: probe"), manifest("Secret", "s", "k: Z3Vlc3M="),
    ]

    /// SECURITY.md, "Manifests" and "Secrets".
    @Test func aStrangersManifestsReachNoServer() async throws {
        let server = Server(["\(Self.path)/x": Self.map("x", ["k": "live", "same": "s"])])
        let outcome = try await compare(Self.base, Self.head, server, isForStranger: true)
        #expect(server.words.filter { $0.hasSuffix("/configmaps/x") } == ["GET \(Self.path)/x", "PATCH \(Self.path)/x"])
        #expect(!server.words.contains { $0.contains("secrets") || $0.contains("new") })
        #expect(server.bodies.contains("\"k\":\"v\"") && !server.bodies.contains("\"w\"") && !server.bodies.contains("guess"))
        #expect(outcome.difference.changes.flatMap(\.fields) == [FieldDifference(path: "data[\"k\"]", observed: "live", desired: "w")])
        #expect(outcome.difference.drift.flatMap(\.fields) == [FieldDifference(path: "data[\"k\"]", observed: "live", desired: "v")])
    }

    /// SECURITY.md, "What is read": fields that the base does not declare, ours of former times among them, make no difference.
    @Test func aStrangerLearnsNothingOfOtherFields() async throws {
        let worlds: [(Value, [String])] = [
            (["k": "live", "same": "s"], []), (["k": "live", "same": "s", "other": "guess"], []),
            (["k": "live", "same": "s", "other": "else"], ["other"]),
            (["k": "live", "same": "s", "past": "secret"], ["k", "same", "past"]),
        ]
        var seen: [PlanDifference] = []
        for (data, ours) in worlds {
            let server = Server(["\(Self.path)/x": Self.map("x", data, ours: ours), "\(Self.path)/new": Self.map("new", ["k": "probe"])])
            seen.append(try await compare(Self.base, Self.head, server, isForStranger: true).difference)
        }
        for other in seen.dropFirst() {
            #expect(other.changes.map(\.fields) == seen[0].changes.map(\.fields))
            #expect(other.drift.map(\.fields) == seen[0].drift.map(\.fields))
            #expect(other.ended.map(\.fields) == seen[0].ended.map(\.fields) && other.newProblems == seen[0].newProblems)
        }
        // The same world says more to who may write.
        let server = Server(["\(Self.path)/x": Self.map("x", worlds[3].0, ours: worlds[3].1)])
        let open = try await compare([Self.base[0]], [Self.head[0]], server, isForStranger: false)
        #expect(open.difference.drift.flatMap(\.fields).map(\.path).contains("data[\"past\"]"))
    }

    /// One reading of each object, and a dry-run of each manifest that differs.
    @Test func eachObjectIsReadOnce() async throws {
        let server = Server(["\(Self.path)/x": Self.map("x", ["k": "live", "same": "s"])])
        let outcome = try await compare([Self.base[0]], [Self.head[0], Self.head[1]], server, isForStranger: false)
        #expect(
            server.words.filter { $0.contains("/configmaps") }.sorted() == [
                "GET \(Self.path)/new", "GET \(Self.path)/x", "PATCH \(Self.path)/new", "PATCH \(Self.path)/x", "PATCH \(Self.path)/x",
            ]
        )
        #expect(outcome.difference.changes.map(\.action.address.description) == ["home/v1/ConfigMap/a/new", "home/v1/ConfigMap/a/x"])
        #expect(outcome.difference.changes.last?.fields.map(\.path) == ["data[\"k\"]", "data[\"other\"]"])
        // Another version of the same object is one object.
        let same = Server(["\(Self.path)/x": Self.map("x", ["k": "v", "same": "s"])])
        let nothing = try await compare([Self.base[0]], [Self.base[0]], same, isForStranger: false)
        #expect(nothing.difference.changes.isEmpty && nothing.difference.drift.isEmpty)
        #expect(same.words.count { $0.contains("/configmaps") } == 1)
    }
}
