import ClusterKinds
import KubernetesAPI
import ResourceModel
import Synchronization
import Testing
import Values

/// What is written down in a cluster: read, kept small, shared with other writers, and never guessed at.
struct InventoryTests {
    /// ConfigMaps of a namespace, as an API server keeps them: with versions, and 409 for those who come too late.
    private final class Server: Sendable {
        struct State {
            var maps: [String: Value] = [:]
            var version = 0
            var writes: [String] = []
            /// Runs once before the next write: another writer.
            var interference: (@Sendable (inout State) -> Void)?
        }

        let state = Mutex(State())

        var send: APISender {
            { (request) throws(APIFailure) in self.state.withLock { Self.answer(request, &$0) } }
        }

        private static func answer(_ request: APIRequest, _ state: inout State) -> APIResponse {
            let folder = "/api/v1/namespaces/kube-system/configmaps"
            guard request.path.hasPrefix(folder) else { return APIResponse(status: 404, body: ["reason": "NotFound"]) }
            if request.method == .get {
                let items = state.maps.sorted { $0.key < $1.key }.map(\.value)
                return APIResponse(status: 200, body: ["items": .array(items)])
            }
            if let interference = state.interference {
                state.interference = nil
                interference(&state)
            }
            state.writes.append("\(request.method.rawValue) \(request.path.dropFirst(folder.count))")
            state.version += 1
            let conflict = APIResponse(status: 409, body: ["reason": "Conflict", "message": "changed"])
            switch request.method {
            case .delete:
                let name = String(request.path.dropFirst(folder.count + 1))
                let expected = request.body?[path: "preconditions", "resourceVersion"]
                guard state.maps[name]?[path: "metadata", "resourceVersion"] == expected else { return conflict }
                state.maps[name] = nil
                return APIResponse(status: 200, body: [:])
            default:
                var body = request.body ?? [:]
                let name = body[path: "metadata", "name"]?.stringValue ?? ""
                guard state.maps[name]?[path: "metadata", "resourceVersion"] == body[path: "metadata", "resourceVersion"] else { return conflict }
                #expect(body.canonicalJSON.utf8.count < 1 << 20, "an API server takes no ConfigMap of more than 1 MiB")
                body["metadata"]?["resourceVersion"] = .string("\(state.version)")
                body["metadata"]?["uid"] = .string("uid-of-\(name)")
                state.maps[name] = body
                return APIResponse(status: 200, body: body)
            }
        }

        /// The entries of one inventory, over all of its ConfigMaps.
        func lines(_ inventory: String = "i") -> [String] {
            state.withLock { state in
                state.maps.values.filter { $0[path: "data", "inventory"]?.stringValue == inventory }
                    .flatMap { ($0[path: "data", "objects"]?.stringValue ?? "").split(separator: "\n").map(String.init) }.sorted()
            }
        }
    }

    private let id = InventoryID(name: "i")

    private func entry(_ name: String, uid: String? = "u") -> InventoryEntry {
        InventoryEntry(resource: "v1/ConfigMap/default/\(name)", uid: uid, isCreated: true)
    }

    private func record(_ changes: [InventoryChange], _ server: Server) async -> String? {
        await ClusterKinds.record(changes, in: id, source: "here", send: server.send)
    }

    @Test func isMadeChangedAndTakenAway() async {
        let server = Server()
        #expect(await record([.hold(entry("a", uid: nil)), .hold(entry("b"))], server) == nil)
        #expect(
            server.lines() == [
                #"{"created":true,"object":"v1/ConfigMap/default/a"}"#, #"{"created":true,"object":"v1/ConfigMap/default/b","uid":"u"}"#,
            ]
        )
        #expect(await record([.hold(entry("a", uid: "x")), .forget(key: "/ConfigMap/default/b", uid: "u")], server) == nil)
        #expect(server.lines() == [#"{"created":true,"object":"v1/ConfigMap/default/a","uid":"x"}"#])
        // Known already: nothing is written. Forgotten with another UID: that is somebody else's knowledge.
        #expect(await record([.hold(entry("a", uid: "x")), .forget(key: "/ConfigMap/default/a", uid: "u")], server) == nil)
        #expect(await record([.forget(key: "/ConfigMap/default/a", uid: "x")], server) == nil)
        #expect(server.state.withLock { $0.writes } == ["POST ", "PUT /plumb-inventory-i", "DELETE /plumb-inventory-i"])
    }

    @Test func tenThousandObjectsFit() async {
        let server = Server()
        let uid = "cd0caa33-60fa-4cb7-8cb7-ad6b0288e99f"
        let long = String(repeating: "n", count: 60)
        let entries = (0..<10_000).map { InventoryEntry(resource: "apps/v1/Deployment/\(long)/\(long)-\($0)", uid: uid, isCreated: true) }
        #expect(await record(entries.map(InventoryChange.hold), server) == nil)
        #expect(server.lines().count == 10_000)
        let shards = server.state.withLock { $0.maps.count }
        #expect(shards > 1 && shards < 6)
        // One that changes is written where it is, and alone.
        var changed = entries[9_999]
        changed.isKept = true
        let before = server.state.withLock { $0.writes.count }
        #expect(await record([.hold(changed)], server) == nil)
        #expect(server.state.withLock { $0.writes.count } == before + 1)
        #expect(server.lines().count == 10_000 && server.lines().count { $0.contains("keep") } == 1)
    }

    @Test func whatAnotherWriterAddedStays() async {
        let server = Server()
        #expect(await record([.hold(entry("a"))], server) == nil)
        server.state.withLock { state in
            state.interference = { state in
                state.version += 1
                var map = state.maps["plumb-inventory-i"] ?? [:]
                let text = map[path: "data", "objects"]?.stringValue ?? ""
                map["data"]?["objects"] = .string(text + #"{"object":"v1/Secret/default/theirs","uid":"s"}"# + "\n")
                map["metadata"]?["resourceVersion"] = .string("\(state.version)")
                state.maps["plumb-inventory-i"] = map
            }
        }
        // Ours goes; the ConfigMap would have been empty and is not.
        #expect(await record([.forget(key: "/ConfigMap/default/a", uid: "u")], server) == nil)
        #expect(server.lines() == [#"{"object":"v1/Secret/default/theirs","uid":"s"}"#])
    }

    @Test(
        arguments: [
            (["format": "2"], "is of a newer Plumb"), (["objects": "{\"object\":\"v1/ConfigMap/default/a\"}\n???\n"], "is damaged"),
            (["inventory": .null], "is no inventory any more"),
        ] as [(Value, String)]
    )
    func whatIsNotAsPlumbWritesItIsLeftAlone(change: Value, message: String) async {
        let server = Server()
        #expect(await record([.hold(entry("a"))], server) == nil)
        server.state.withLock { state in
            for (key, value) in change.objectValue ?? [:] { state.maps["plumb-inventory-i"]?["data"]?[key] = value == .null ? nil : value }
        }
        let writes = server.state.withLock { $0.writes.count }
        #expect(await record([.hold(entry("b"))], server)?.contains(message) == true)
        #expect(server.state.withLock { $0.writes.count } == writes)
    }

    @Test func aNameIsBelievedAndAPlaceMakesOne() {
        #expect(InventoryID(cluster: "home", declared: nil, source: "0123456789").words == "home-0123456789")
        #expect(InventoryID(cluster: "home", declared: "shop", source: "0123456789").words == "shop")
        let other = InventoryID(cluster: "home", declared: "web/shop", source: "0123456789")
        #expect(other.namespace == "web" && other.name == "shop" && other.words == "web/shop")
    }

    @Test(
        arguments: [
            // Made by our apply, and a controller came later.
            ([("plumb", "Apply", "12:00:00"), ("kcm", "Update", "12:00:03")], true),
            // The clock ticked between the fields and the object.
            ([("plumb", "Apply", "11:59:59")], true),
            // There before we came.
            ([("kubectl", "Update", "12:00:00"), ("plumb", "Apply", "12:00:05")], false),
            // In the same second: who knows.
            ([("kubectl", "Update", "12:00:00"), ("plumb", "Apply", "12:00:00")], false),
            ([("plumb", "Update", "12:00:00")], false),
            ([], false),
        ] as [([(String, String, String)], Bool)]
    )
    func tellsWhoMadeAnObject(entries: [(String, String, String)], isOurs: Bool) {
        let managed = entries.map { manager, operation, time -> Value in
            ["manager": .string(manager), "operation": .string(operation), "time": .string("2026-01-31T\(time)Z"), "fieldsV1": ["f:data": [:]]]
        }
        let object: Value = ["metadata": ["uid": "u", "creationTimestamp": "2026-01-31T12:00:00Z", "managedFields": .array(managed)]]
        #expect(ClusterKinds.made(APIResponse(status: 200, body: object))?.isCreated == isOurs)
        #expect(ClusterKinds.made(APIResponse(status: 201, body: object))?.isCreated == true)
    }
}
