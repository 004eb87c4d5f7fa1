import ClusterKinds
import KubernetesAPI
import ResourceModel
import SpecLoading
import Synchronization
import Testing
import Values

/// How a cluster is read, against a server in memory: what is asked, in which way, and what is made of odd answers.
struct ReadingTests {
    /// Answers by method and path; without an answer of its own a path is not found. Everything that is asked is remembered.
    private final class Server: Sendable {
        let asked = Mutex<[String]>([])
        let answer: @Sendable (APIRequest, Int) throws(APIFailure) -> APIResponse?

        init(_ answer: @escaping @Sendable (APIRequest, Int) throws(APIFailure) -> APIResponse?) { self.answer = answer }

        var send: APISender {
            { (request) throws(APIFailure) in
                let words = "\(request.method.rawValue) \(request.target)"
                let before = self.asked.withLock { asked in
                    asked.append(words)
                    return asked.count { $0 == words } - 1
                }
                if let response = try self.answer(request, before) { return response }
                switch request.path {
                case "/api/v1/namespaces/kube-system": return APIResponse(status: 200, body: ["metadata": ["uid": "cluster-1"]])
                case "/version": return APIResponse(status: 200, body: ["major": "1", "minor": "30", "gitVersion": "v1.30.0"])
                case "/api/v1":
                    let kinds: [(String, String, Bool)] = [
                        ("ConfigMap", "configmaps", true), ("Secret", "secrets", true), ("Namespace", "namespaces", false),
                        ("Service", "services", true),
                    ]
                    let resources = kinds.map { kind, plural, isNamespaced -> Value in
                        ["kind": .string(kind), "name": .string(plural), "namespaced": .bool(isNamespaced), "verbs": ["get", "list", "patch"]]
                    }
                    return APIResponse(status: 200, body: ["resources": .array(resources)])
                default: return Server.missing("thing")
                }
            }
        }

        static func missing(_ name: String) -> APIResponse {
            APIResponse(status: 404, body: ["reason": "NotFound", "message": "not found", "details": ["name": .string(name), "kind": "things"]])
        }

        static func forbidden(_ verb: String, _ plural: String) -> APIResponse {
            let message = "\(plural) is forbidden: User \"u\" cannot \(verb) resource \"\(plural)\" in API group \"\" in the namespace \"a\""
            return APIResponse(status: 403, body: ["reason": "Forbidden", "message": .string(message)])
        }

        static func map(_ name: String, _ data: Value) -> Value {
            ["metadata": ["name": .string(name), "namespace": "a", "uid": .string("uid-\(name)")], "data": data]
        }
    }

    private func maps(_ names: [String]) throws -> [DesiredResource] {
        try load(names.map { "{apiVersion: v1, kind: ConfigMap, metadata: {name: '\($0)', namespace: a}, data: {k: v}}" })
    }

    private func load(_ manifests: [String]) throws -> [DesiredResource] {
        let text = (["{apiVersion: plumb/v1, kind: Cluster, metadata: {name: home}, spec: {context: c}}"] + manifests).joined(separator: "\n---\n")
        let file = SpecFile(path: "s.yaml", relativePath: "s.yaml", bytes: Array(text.utf8))
        return try loadSpecs([file], kinds: ClusterKinds.all, options: LoadOptions(contentHash: "")).resources
    }

    private func read(
        _ resources: [DesiredResource],
        _ server: Server
    ) async -> (objects: [String: ObservedObject], facts: TargetFacts?, problem: Problem?) {
        switch await ClusterKinds.observe(resources, of: "home", send: server.send) {
        case .observed(let facts):
            guard case .cluster(let objects) = facts.facts else { return ([:], facts, nil) }
            return (objects, facts, nil)
        case .failed(let problem): return ([:], nil, problem)
        }
    }

    @Test func fewAreGotAndManyAreListed() async throws {
        let server = Server { (request, _) throws(APIFailure) in
            guard request.path.hasSuffix("/configmaps") else { return nil }
            return APIResponse(status: 200, body: ["items": [Server.map("x", ["k": "v"]), Server.map("z", ["k": "v"]), Server.map("other", [:])]])
        }
        let (objects, facts, _) = await read(try maps(["x", "y", "z"]), server)
        #expect(facts?.identity == "cluster-1")
        #expect(facts?.notes == [])
        #expect(objects["v1/ConfigMap/a/x"]?.live?["kind"] == "ConfigMap")
        #expect(objects["v1/ConfigMap/a/z"]?.live != nil)
        #expect(objects["v1/ConfigMap/a/y"]?.live == nil)
        // What is in sync is not asked again, what is missing is dry-run.
        let asked = server.asked.withLock { Set($0) }
        #expect(
            asked == [
                "GET /api/v1", "GET /version", "GET /api/v1/namespaces/kube-system", "GET /api/v1/namespaces/a/configmaps?limit=500",
                "PATCH /api/v1/namespaces/a/configmaps/y?fieldManager=plumb&force=true&fieldValidation=Strict&dryRun=All",
            ]
        )
        let few = Server { (_, _) throws(APIFailure) in nil }
        _ = await read(try maps(["x", "y"]), few)
        #expect(!few.asked.withLock { $0.contains { $0.contains("limit=") } })
    }

    @Test func pagesThatAreGoneAreAskedForOneByOne() async throws {
        let server = Server { (request, _) throws(APIFailure) in
            if request.query.contains(where: { $0.name == "continue" }) { return APIResponse(status: 410, body: ["reason": "Expired"]) }
            if request.path.hasSuffix("/configmaps") {
                return APIResponse(
                    status: 200,
                    body: ["metadata": ["continue": "next", "remainingItemCount": 20], "items": [Server.map("x", ["k": "v"])]]
                )
            }
            if request.path.hasSuffix("/configmaps/y") { return APIResponse(status: 200, body: Server.map("y", ["k": "v"])) }
            return nil
        }
        let (objects, _, _) = await read(try maps(["x", "y", "z"]), server)
        #expect(objects["v1/ConfigMap/a/x"]?.live != nil)
        #expect(objects["v1/ConfigMap/a/y"]?.live != nil)
        #expect(objects["v1/ConfigMap/a/z"]?.live == nil)
    }

    @Test func aVeryLongListIsNotReadToItsEnd() async throws {
        let server = Server { (request, _) throws(APIFailure) in
            guard request.path.hasSuffix("/configmaps") else { return nil }
            return APIResponse(status: 200, body: ["metadata": ["continue": "next", "remainingItemCount": 90_000], "items": []])
        }
        _ = await read(try maps(["x", "y", "z"]), server)
        let asked = server.asked.withLock { $0 }
        #expect(asked.count { $0.contains("limit=") } == 1)
        #expect(asked.count { $0.hasPrefix("GET /api/v1/namespaces/a/configmaps/") } == 3)
    }

    @Test func aRightToGetIsEnough() async throws {
        let server = Server { (request, _) throws(APIFailure) in
            if request.path.hasSuffix("/configmaps") { return Server.forbidden("list", "configmaps") }
            return request.method == .get && request.path.contains("/configmaps/") ? APIResponse(status: 200, body: Server.map("x", ["k": "v"])) : nil
        }
        let (objects, _, _) = await read(try maps(["x", "y", "z"]), server)
        #expect(objects.values.allSatisfy { $0.problem == nil && $0.live != nil })
    }

    @Test func whoMayNotDryRunGetsTheLocalResult() async throws {
        let server = Server { (request, _) throws(APIFailure) in
            if request.method == .patch { return Server.forbidden("patch", "configmaps") }
            return request.path.hasSuffix("/x") ? APIResponse(status: 200, body: Server.map("x", ["k": "old"])) : nil
        }
        let object = await read(try maps(["x"]), server).objects["v1/ConfigMap/a/x"]
        #expect(object?.unconfirmed?.hasPrefix("user u may not patch configmaps in namespace a") == true)
        #expect(object?.predicted == nil)
        #expect(object?.problem == nil)
    }

    @Test func anObjectThatWasMadeAnewIsReadAgain() async throws {
        let server = Server { (request, before) throws(APIFailure) in
            guard request.path.hasSuffix("/x") else { return nil }
            if request.method == .get {
                var map = Server.map("x", ["k": "old"])
                map["metadata"]?["uid"] = before == 0 ? "first" : "second"
                return APIResponse(status: 200, body: map)
            }
            guard request.body?[path: "metadata", "uid"] == "second" else {
                return APIResponse(status: 409, body: ["reason": "Conflict", "message": "uid mismatch"])
            }
            return APIResponse(status: 200, body: Server.map("x", ["k": "v"]))
        }
        let object = await read(try maps(["x"]), server).objects["v1/ConfigMap/a/x"]
        #expect(object?.live?[path: "metadata", "uid"] == "second")
        #expect(object?.predicted?["data"] == ["k": "v"])
    }

    @Test func secretsAreHiddenFromTheMomentTheyAreRead() async throws {
        let lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
        let server = Server { (request, _) throws(APIFailure) in
            guard request.path.hasSuffix("/secrets/s") else { return nil }
            if request.method == .patch {
                let cause: Value = ["message": "Invalid value: \"hunter2\"", "field": "data[password]"]
                return APIResponse(status: 422, body: ["message": "hunter2 is wrong", "details": ["causes": [cause]]])
            }
            return APIResponse(
                status: 200,
                body: [
                    "apiVersion": "v1", "kind": "Secret", "data": ["password": "aHVudGVyMg=="],
                    "metadata": ["name": "s", "annotations": [lastApplied: "{\"stringData\":{\"password\":\"hunter2\"}}"]],
                ]
            )
        }
        let resources = try load(["{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: a}, stringData: {password: other}}"])
        let (objects, _, _) = await read(resources, server)
        let object = objects["v1/Secret/a/s"]
        #expect(object?.problem?.status == .invalid)
        #expect(object?.problem?.message.contains("data[password]") == true)
        var dumped = ""
        dump(objects, to: &dumped)
        for text in [dumped, "\(objects)", object?.live?.canonicalJSON ?? ""] { #expect(!text.contains("hunter2") && !text.contains("aHVudGVyMg")) }
    }

    @Test func namespacesAndDefinitionsAmongTheSpecsAreNotAskedWhatTheyCantKnow() async throws {
        let resources = try load([
            "{apiVersion: v1, kind: Namespace, metadata: {name: a}}",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: a}}",
        ])
        let server = Server { (_, _) throws(APIFailure) in nil }
        let (objects, _, _) = await read(resources, server)
        #expect(objects["v1/ConfigMap/a/x"]?.unconfirmed == "its namespace is created first")
        #expect(!server.asked.withLock { $0.contains { $0.hasPrefix("PATCH /api/v1/namespaces/a/configmaps") } })
    }

    @Test(arguments: [
        (APIFailure.Cause.unreachable, ProblemStatus.unreachable), (.timedOut, .unreachable), (.untrusted, .denied), (.credentials, .denied),
    ])
    func aServerThatIsLostHalfWayIsTheWholeTargetsProblem(cause: APIFailure.Cause, status: ProblemStatus) async throws {
        let server = Server { (request, _) throws(APIFailure) in
            if request.path.hasSuffix("/configmaps/y") { throw APIFailure(cause, "lost it") }
            return nil
        }
        let (_, facts, problem) = await read(try maps(["x", "y"]), server)
        #expect(facts == nil)
        #expect(problem == Problem(target: "home", status: status, message: "lost it"))
    }

    @Test func oneUnreadableAnswerIsOneObjectsProblem() async throws {
        let server = Server { (request, _) throws(APIFailure) in
            if request.path.hasSuffix("/configmaps/y"), request.method == .get { throw APIFailure(.unreadable, "no JSON") }
            return nil
        }
        let (objects, _, _) = await read(try maps(["x", "y"]), server)
        #expect(objects["v1/ConfigMap/a/y"]?.problem?.status == .unknown)
        #expect(objects["v1/ConfigMap/a/x"]?.problem?.message != "no JSON")
    }

    @Test func withoutKubeSystemTheAddressStandsForTheCluster() async throws {
        let server = Server { (request, _) throws(APIFailure) in
            switch request.path {
            case "/api/v1/namespaces/kube-system": Server.forbidden("get", "namespaces")
            case "/api": APIResponse(status: 200, body: ["serverAddressByClientCIDRs": [["serverAddress": "10.0.0.1:6443"]]])
            default: nil
            }
        }
        let (_, facts, _) = await read(try maps(["x"]), server)
        #expect(facts?.identity == "address 10.0.0.1:6443")
        #expect(facts?.notes.first?.contains("namespace kube-system can't be read: user u may not get namespaces in namespace a") == true)
    }

    @Test func anOldServerIsNoted() async throws {
        let server = Server { (request, _) throws(APIFailure) in
            request.path == "/version" ? APIResponse(status: 200, body: ["major": "1", "minor": "18", "gitVersion": "v1.18.9"]) : nil
        }
        #expect(await read(try maps(["x"]), server).facts?.notes == ["home: runs Kubernetes v1.18.9; Plumb is made for 1.20 and newer"])
    }

    @Test func aKindThatWasJustDefinedIsAskedAgain() async throws {
        let server = Server { (_, before) throws(APIFailure) in
            before < 2 ? APIResponse(status: 404, body: "404 page not found") : APIResponse(status: 201, body: [:])
        }
        let address = ResourceAddress(target: "home", resource: "example.com/v1/Widget/a/w")
        let request = Step.Request(method: "PATCH", path: "/apis/example.com/v1/namespaces/a/widgets/w", body: [:])
        #expect(await ClusterKinds.carryOut(request, for: address, send: server.send) == nil)
        #expect(server.asked.withLock { $0.count } == 3)
    }

    @Test func readinessIsWaitedForAndSaysWhatIsMissing() async throws {
        let server = Server { (request, before) throws(APIFailure) in
            guard request.path.hasSuffix("/services/s") else { return nil }
            let ingress: Value = before < 2 ? [] : [["ip": "192.0.2.1"]]
            return APIResponse(
                status: 200,
                body: ["apiVersion": "v1", "kind": "Service", "spec": ["type": "LoadBalancer"], "status": ["loadBalancer": ["ingress": ingress]]]
            )
        }
        let service = ResourceAddress(target: "home", resource: "v1/Service/a/s")
        #expect(
            await ClusterKinds.awaitReadiness(of: service, within: .milliseconds(60), send: server.send)
                == "no load balancer has given it an address yet"
        )
        #expect(await ClusterKinds.awaitReadiness(of: service, within: .seconds(5), send: server.send) == nil)
        let missing = ResourceAddress(target: "home", resource: "v1/Service/a/none")
        #expect(await ClusterKinds.awaitReadiness(of: missing, within: .milliseconds(60), send: server.send) == "it is not there")
        #expect(
            await ClusterKinds.awaitReadiness(of: missing, within: .seconds(3600), isInterrupted: { true }, send: server.send)
                == "it is not there; interrupted before it was"
        )
    }

    // MARK: With an inventory

    private func inventory(_ name: String, source: String = "elsewhere", _ lines: [String]) -> Value {
        [
            "metadata": ["name": .string("plumb-inventory-\(name)"), "resourceVersion": "1", "uid": "i"],
            "data": [
                "format": "1", "inventory": .string(name), "source": .string(source),
                "objects": .string(lines.map { "\($0)\n" }.joined()),
            ],
        ]
    }

    private static let list = "/api/v1/namespaces/kube-system/configmaps"

    private func look(_ resources: [DesiredResource], _ server: Server) async -> (facts: TargetFacts?, findings: InventoryFindings?) {
        let scope = InventoryScope.read(InventoryID(name: "own"))
        let found = await ClusterKinds.observe(resources, of: "home", inventory: scope, send: server.send)
        guard case .observed(let facts) = found.observation else { return (nil, found.inventory) }
        return (facts, found.inventory)
    }

    @Test func theInventoryIsOneRequestMore() async throws {
        let answer: @Sendable (APIRequest, Int) throws(APIFailure) -> APIResponse? = { (request, _) throws(APIFailure) in
            request.path.hasSuffix("/configmaps") ? APIResponse(status: 200, body: ["items": []]) : nil
        }
        let (without, with) = (Server(answer), Server(answer))
        _ = await read(try maps(["x", "y", "z"]), without)
        _ = await look(try maps(["x", "y", "z"]), with)
        #expect(with.asked.withLock { $0.count } == without.asked.withLock { $0.count } + 1)
        #expect(
            with.asked.withLock { $0.contains { $0.hasPrefix("GET \(Self.list)?limit=500&labelSelector=app.kubernetes.io%2Fmanaged-by%3Dplumb") } }
        )
    }

    @Test func whatTheInventoryHasIsHeldAgainstWhatIsLive() async throws {
        let lines = [
            #"{"created":true,"object":"v1/ConfigMap/a/x","uid":"uid-x"}"#, #"{"created":true,"object":"v1/ConfigMap/a/old","uid":"uid-old"}"#,
            #"{"created":true,"object":"v1/ConfigMap/a/gone","uid":"uid-gone"}"#, #"{"created":true,"object":"v1/ConfigMap/a/other","uid":"uid-0"}"#,
            #"{"created":true,"object":"v1/ConfigMap/a/shared","uid":"uid-shared"}"#,
        ]
        let theirs = [#"{"created":true,"object":"v1/ConfigMap/a/shared","uid":"uid-shared"}"#, #"{"created":true,"object":"v1/ConfigMap/a/y"}"#]
        let items: Value = .array([inventory("own", lines), inventory("theirs", theirs)])
        let server = Server { (request, _) throws(APIFailure) in
            if request.path == Self.list { return APIResponse(status: 200, body: ["items": items]) }
            guard request.path.hasSuffix("/configmaps") else { return nil }
            let there = ["x", "y", "old", "other", "shared"].map { Server.map($0, ["k": "v"]) }
            return APIResponse(status: 200, body: ["items": .array(there)])
        }
        let (facts, findings) = await look(try maps(["x", "y"]), server)
        #expect(facts?.owned.map(\.address.resource).sorted() == ["v1/ConfigMap/a/old", "v1/ConfigMap/a/x"])
        let forgotten: [InventoryChange] = [("gone", "uid-gone"), ("other", "uid-0"), ("shared", "uid-shared")].map {
            .forget(key: "/ConfigMap/a/\($0)", uid: $1)
        }
        #expect(Set(findings?.changes ?? []) == Set(forgotten))
        #expect(facts?.notes.count == 2)
        #expect(facts?.notes.first?.contains("v1/ConfigMap/a/shared: is no longer declared here and stays, as inventory theirs") == true)
        #expect(facts?.notes.last?.contains("1 of the declared objects is in inventory theirs (elsewhere)") == true)
        // What no spec declares is no more than read.
        #expect(!server.asked.withLock { $0.contains { $0.hasPrefix("PATCH") } })
    }

    @Test(arguments: [403, 200])
    func anInventoryThatCantBeReadPrunesNothing(status: Int) async throws {
        let server = Server { (request, _) throws(APIFailure) in
            guard request.path == Self.list else { return nil }
            if status == 403 { return Server.forbidden("list", "configmaps") }
            return APIResponse(status: 200, body: ["items": [["metadata": ["name": "plumb-inventory-own"], "data": ["format": "1"]]]])
        }
        let (facts, findings) = await look(try maps(["x"]), server)
        #expect(facts?.owned == [] && findings?.unreadable != nil)
        #expect(facts?.notes.first?.hasPrefix("home: nothing is pruned, as the inventory can't be read: ") == true)
    }

    @Test(arguments: [("v2", "example.com/v2/Widget/a/w"), ("", nil)] as [(String, String?)])
    func aVersionThatIsServedNoLongerIsFoundUnderAnother(version: String, resource: String?) async throws {
        let items: Value = .array([inventory("own", [#"{"created":true,"object":"example.com/v1/Widget/a/w","uid":"uid-w"}"#])])
        let server = Server { (request, _) throws(APIFailure) in
            switch request.path {
            case Self.list: return APIResponse(status: 200, body: ["items": items])
            case "/apis/example.com" where !version.isEmpty:
                return APIResponse(status: 200, body: ["versions": [["groupVersion": "example.com/v2"]]])
            case "/apis/example.com/v2":
                let kind: Value = ["kind": "Widget", "name": "widgets", "namespaced": true, "verbs": ["get", "list", "patch"]]
                return APIResponse(status: 200, body: ["resources": [kind]])
            case "/apis/example.com/v2/namespaces/a/widgets/w": return APIResponse(status: 200, body: Server.map("w", [:]))
            case "/apis/example.com/v1", "/apis/example.com": return APIResponse(status: 404, body: ["reason": "NotFound"])
            default: return nil
            }
        }
        let (facts, findings) = await look([], server)
        #expect(facts?.owned.map(\.address.resource) == resource.map { [$0] } ?? [])
        #expect(findings?.changes == (resource == nil ? [.forget(key: "example.com/Widget/a/w", uid: "uid-w")] : []))
        let drift = facts.map { facts in ClusterKinds.all.flatMap { $0.undeclared(facts.owned, facts) } }
        #expect(drift?.map(\.standing) == (resource == nil ? [] : [.surplus]))
    }
}
