import Applying
import ClusterKinds
import Foundation
import Kubernetes
import KubernetesAPI
import Planning
import Reconciling
import ResourceModel
import Testing
import Values

/// Objects of our own at a real API server: made, changed, left alone. Each test has names of its own, so that all can run at once.
@Suite(.timeLimit(.minutes(2)))
struct ObjectsLiveTests {
    private func random() -> String { "x" + String(UInt32.random(in: 0...UInt32.max), radix: 36) }

    private func expectSettled(_ cluster: LiveCluster, _ specs: String, _ place: SourceLocation = #_sourceLocation) async throws {
        let plan = try await cluster.plan(specs)
        #expect(plan.actions == [], sourceLocation: place)
        #expect(plan.problems == [], sourceLocation: place)
        #expect(!plan.unchanged.isEmpty, sourceLocation: place)
    }

    @Test func everythingIsMadeFromNothingInOnePlan() async throws {
        let id = random()
        let specs = """
            apiVersion: example.com/v1
            kind: Widget\(id)
            metadata: {name: w, namespace: shop-\(id)}
            spec: {size: 3}
            ---
            apiVersion: v1
            kind: ConfigMap
            metadata: {name: settings, namespace: shop-\(id), annotations: {a/b: "1"}}
            data: {mode: fast, "a.conf": "x=1"}
            ---
            apiVersion: v1
            kind: Secret
            metadata: {name: login, namespace: shop-\(id)}
            stringData: {password: hunter2}
            ---
            apiVersion: apps/v1
            kind: Deployment
            metadata: {name: web, namespace: shop-\(id)}
            spec:
              selector: {matchLabels: {app: web}}
              template:
                metadata: {labels: {app: web}}
                spec:
                  containers:
                  - name: c
                    image: nginx
                    resources: {requests: {cpu: 1000m, memory: 1024Mi}}
                    ports: [{containerPort: 80}]
                    env: [{name: A, value: b}]
            ---
            apiVersion: v1
            kind: Service
            metadata: {name: web, namespace: shop-\(id)}
            spec: {selector: {app: web}, ports: [{name: http, port: 80, protocol: TCP}, {name: tls, port: 443, protocol: TCP}]}
            ---
            apiVersion: v1
            kind: Namespace
            metadata: {name: shop-\(id)}
            ---
            apiVersion: apiextensions.k8s.io/v1
            kind: CustomResourceDefinition
            metadata: {name: widget\(id)s.example.com}
            spec:
              group: example.com
              scope: Namespaced
              names: {plural: widget\(id)s, singular: widget\(id), kind: Widget\(id), listKind: Widget\(id)List}
              versions:
              - name: v1
                served: true
                storage: true
                schema:
                  openAPIV3Schema:
                    type: object
                    properties: {spec: {type: object, properties: {size: {type: integer}, color: {type: string, default: red}}}}
            """
        try await LiveCluster.with { cluster in
            let outcome = try await cluster.apply(specs)
            #expect(outcome.plan.problems == [])
            #expect(outcome.plan.actions.map(\.operation) == Array(repeating: .create, count: 7))
            // Definition and namespace come first.
            #expect(outcome.plan.actions.prefix(2).map(\.kind) == ["CustomResourceDefinition", "Namespace"])
            #expect(outcome.summary.succeeded == 7, "\(outcome.events)")
            try await expectSettled(cluster, specs)
            // The server writes 1 and 1Gi: still the same.
            let live = try await cluster.request(APIRequest(.get, "/apis/apps/v1/namespaces/shop-\(id)/deployments/web")).body
            let container = live[path: "spec", "template", "spec", "containers"]?.arrayValue?.first
            #expect(container?[path: "resources", "requests", "cpu"] == "1")
        }
        // Whoever may only read sees no drift either, although nothing can be confirmed.
        try await LiveCluster.with(context: "reader") { try await expectSettled($0, specs) }
    }

    @Test func whatIsNoLongerDeclaredIsRemoved() async throws {
        try await LiveCluster.with { cluster in
            let namespace = try await cluster.namespace()
            func specs(_ data: String) -> String {
                "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: \(namespace)}, data: \(data)}"
            }
            _ = try await cluster.apply(specs("{a: '1', b: '2'}"))
            // Somebody else's key is nobody's business.
            try await cluster.patch("/api/v1/namespaces/\(namespace)/configmaps/c", ["data": ["theirs": "3"]])
            try await expectSettled(cluster, specs("{a: '1', b: '2'}"))
            let outcome = try await cluster.apply(specs("{a: '1'}"))
            #expect(outcome.plan.actions.map(\.fields) == [[FieldDifference(path: "data[\"b\"]", observed: "2", desired: nil)]])
            #expect(outcome.plan.actions.first?.steps.first?.summary.hasSuffix("as field manager plumb: data[\"b\"] removed") == true)
            #expect(outcome.summary.succeeded == 1, "\(outcome.events)")
            let live = try await cluster.request(APIRequest(.get, "/api/v1/namespaces/\(namespace)/configmaps/c")).body
            #expect(live["data"] == ["a": "1", "theirs": "3"])
            try await expectSettled(cluster, specs("{a: '1'}"))
        }
    }

    @Test func whoTookAFieldIsNamedAndOnlyThatIsForced() async throws {
        try await LiveCluster.with { cluster in
            let namespace = try await cluster.namespace()
            let specs = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: \(namespace)}, data: {a: '1', b: '2'}}"
            _ = try await cluster.apply(specs)
            try await cluster.patch("/api/v1/namespaces/\(namespace)/configmaps/c", ["data": ["a": "stolen"]], as: "thief")
            let plan = try await cluster.plan(specs)
            let action = try #require(plan.actions.first)
            #expect(action.fields == [FieldDifference(path: "data[\"a\"]", observed: "stolen", desired: "1")])
            #expect(action.reason.hasPrefix("data[\"a\"] was last set by thief (Update) at 20"))
            #expect(action.steps.first?.summary.contains(", forced: ") == true)
            let outcome = try await cluster.apply(specs)
            #expect(outcome.summary.succeeded == 1, "\(outcome.events)")
            // Nobody holds a key that somebody deleted, so nothing is taken from anyone.
            try await cluster.patch("/api/v1/namespaces/\(namespace)/configmaps/c", ["data": ["b": .null]], as: "thief")
            let second = try await cluster.plan(specs)
            #expect(second.actions.first?.fields == [FieldDifference(path: "data[\"b\"]", observed: nil, desired: "2")])
            #expect(second.actions.first?.steps.first?.summary.contains("forced") == false)
        }
    }

    @Test func whatIsTakenAfterThePlanIsNotForced() async throws {
        try await LiveCluster.with { cluster in
            let namespace = try await cluster.namespace()
            func specs(_ data: String) -> String {
                "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: \(namespace)}, data: \(data)}"
            }
            _ = try await cluster.apply(specs("{a: '1'}"))
            let plan = try await cluster.plan(specs("{a: '2'}"))
            let action = try #require(plan.actions.first)
            try await cluster.patch("/api/v1/namespaces/\(namespace)/configmaps/c", ["data": ["a": "3"]], as: "thief")
            guard case .send(let request)? = action.steps.first?.operation else {
                Issue.record("no request")
                return
            }
            let problem = await ClusterKinds.carryOut(request, for: action.address, send: cluster.send)
            #expect(problem?.status == .held)
            #expect(problem?.message == "set by somebody else since it was read: data.a (by thief). Plan again to see it")
        }
    }

    @Test func secretsAreNeverSeen() async throws {
        try await LiveCluster.with { cluster in
            let namespace = try await cluster.namespace()
            func specs(_ data: String) -> String {
                "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: \(namespace)}, \(data)}"
            }
            let first = try await cluster.apply(specs("stringData: {password: hunter2, pin: '4711'}"))
            #expect(first.summary.succeeded == 1)
            try await expectSettled(cluster, specs("stringData: {password: hunter2, pin: '4711'}"))
            // The same in the other spelling.
            try await expectSettled(cluster, specs("stringData: {pin: '4711'}, data: {password: aHVudGVyMg==}"))
            let second = try await cluster.apply(specs("stringData: {password: correcthorse}"))
            let action = try #require(second.plan.actions.first)
            #expect(action.fields.map(\.path) == ["data[\"password\"]", "data[\"pin\"]"])
            for text in ["\(second.plan)", "\(second.events)", "\(first.plan)", "\(first.events)"] {
                for secret in ["hunter2", "correcthorse", "4711", "aHVudGVyMg", "Y29ycmVjdGhvcnNl"] { #expect(!text.contains(secret)) }
            }
            let live = try await cluster.request(APIRequest(.get, "/api/v1/namespaces/\(namespace)/secrets/s")).body
            #expect(live["data"] == ["password": "Y29ycmVjdGhvcnNl"])
            // A refusal that repeats the value.
            let refused = try await cluster.plan(specs("data: {password: 'not base64 hunter2'}"))
            #expect(refused.problems.map(\.status) == [.invalid])
            #expect(!"\(refused)".contains("hunter2"))
        }
    }

    @Test func refusalsSayWhatIsWrong() async throws {
        try await LiveCluster.with { cluster in
            let namespace = try await cluster.namespace()
            func deployment(_ label: String) -> String {
                """
                apiVersion: apps/v1
                kind: Deployment
                metadata: {name: d, namespace: \(namespace)}
                spec:
                  selector: {matchLabels: {app: \(label)}}
                  template: {metadata: {labels: {app: \(label)}}, spec: {containers: [{name: c, image: x}]}}
                """
            }
            _ = try await cluster.apply(deployment("a"))
            let immutable = try await cluster.plan(deployment("b"))
            #expect(immutable.problems.map(\.status) == [.blocked])
            #expect(immutable.problems.first?.message.hasPrefix("spec.selector can't be changed once the object is there. ") == true)

            func problem(_ specs: String) async throws -> Problem? { try await cluster.plan(specs).problems.first }
            let metadata = "metadata: {name: c, namespace: \(namespace)}"
            let misspelt = try await problem("{apiVersion: v1, kind: ConfigMap, \(metadata), dataa: {a: b}}")
            #expect(misspelt?.status == .invalid)
            #expect(misspelt?.message.contains(".dataa: field not declared in schema") == true)
            let wrongType = try await problem("{apiVersion: v1, kind: ConfigMap, \(metadata), data: {a: 5}}")
            #expect(wrongType?.status == .invalid)
            #expect(try await problem("{apiVersion: v1, kind: ConfigMop, \(metadata)}")?.message.hasSuffix("Did you mean ConfigMap?") == true)
            #expect(
                try await problem("{apiVersion: apps/v7, kind: Deployment, \(metadata)}")?.message.hasSuffix("of this group it has apps/v1") == true
            )
            let foreign = try await problem("{apiVersion: nowhere.io/v1, kind: Thing, \(metadata)}")
            #expect(foreign?.status == .invalid)
            #expect(foreign?.message.contains("nor the group nowhere.io") == true)
            let homeless = try await problem("{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: nowhere-\(namespace)}}")
            #expect(homeless?.status == .blocked)
            #expect(homeless?.message == "waits for Namespace nowhere-\(namespace), which is not there. Declare it, or create it")
            let review = try await problem("{apiVersion: authentication.k8s.io/v1, kind: TokenReview, metadata: {name: c}, spec: {token: x}}")
            #expect(review?.status == .invalid)
        }
    }

    @Test func objectsOfHelmAreHeld() async throws {
        try await LiveCluster.with { cluster in
            let namespace = try await cluster.namespace()
            let maps = APIResource(groupVersion: GroupVersion("v1"), kind: "ConfigMap", plural: "configmaps", isNamespaced: true)
            let body: Value = [
                "apiVersion": "v1", "kind": "ConfigMap", "data": ["a": "1"],
                "metadata": [
                    "name": "c", "labels": ["app.kubernetes.io/managed-by": "Helm"],
                    "annotations": ["meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "prod"],
                ],
            ]
            try await cluster.request(.create(maps, namespace: namespace, body: body, fieldManager: "helm"))
            func specs(_ annotations: String) -> String {
                "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: \(namespace)\(annotations)}, data: {a: '2'}}"
            }
            let held = try await cluster.plan(specs(""))
            #expect(held.problems.map(\.status) == [.held])
            #expect(held.problems.first?.message.hasPrefix("owned by Helm release prod/web. ") == true)
            let taken = try await cluster.apply(specs(", annotations: {plumb/take-over: 'true'}"))
            #expect(taken.plan.actions.first?.reason.contains("data[\"a\"] was last set by helm (Update)") == true)
            #expect(taken.summary.succeeded == 1, "\(taken.events)")
        }
    }

    @Test func fieldsOfOthersAreLetGoOfAndKeepTheirValues() async throws {
        try await LiveCluster.with { cluster in
            let namespace = try await cluster.namespace()
            let services = APIResource(groupVersion: GroupVersion("v1"), kind: "Service", plural: "services", isNamespaced: true)
            let ports: Value = [["name": "http", "port": 80, "protocol": "TCP"]]
            let body: Value = ["apiVersion": "v1", "kind": "Service", "metadata": ["name": "s"], "spec": ["ports": ports]]
            try await cluster.request(.create(services, namespace: namespace, body: body, fieldManager: "them"))
            func specs(_ spec: String) -> String {
                """
                {apiVersion: v1, kind: Service, metadata: {name: s, namespace: \(namespace), annotations: {plumb/manage: fields}}, spec: \(spec)}
                """
            }
            let path = "/api/v1/namespaces/\(namespace)/services/s"
            #expect(try await cluster.apply(specs("{type: NodePort, sessionAffinity: ClientIP}")).summary.succeeded == 1)
            let outcome = try await cluster.apply(specs("{sessionAffinity: ClientIP}"))
            #expect(
                outcome.plan.actions.first?.steps.map(\.summary) == ["give up spec.type of Service \(namespace)/s; the value stays as it is"]
            )
            #expect(outcome.summary.succeeded == 1, "\(outcome.events)")
            var live = try await cluster.request(APIRequest(.get, path)).body
            #expect(live[path: "spec", "type"] == "NodePort")
            #expect(
                ManagedFieldsEntry.entries(of: live).filter { $0.manager == "plumb" }.map(\.fields.fieldsV1) == [
                    ["f:spec": ["f:sessionAffinity": [:]]]
                ]
            )
            try await expectSettled(cluster, specs("{sessionAffinity: ClientIP}"))

            // The last one goes, and another field comes.
            let last = try await cluster.apply(specs("{type: ClusterIP}"))
            #expect(last.summary.succeeded == 1, "\(last.events)")
            live = try await cluster.request(APIRequest(.get, path)).body
            #expect(live[path: "spec", "sessionAffinity"] == "ClientIP")
            #expect(live[path: "spec", "type"] == "ClusterIP")
        }
    }

    @Test func manyOfAKindAreListed() async throws {
        try await LiveCluster.with { cluster in
            let namespace = try await cluster.namespace()
            let specs = (1...40).map { "{apiVersion: v1, kind: ConfigMap, metadata: {name: c\($0), namespace: \(namespace)}, data: {n: '\($0)'}}" }
                .joined(separator: "\n---\n")
            #expect(try await cluster.apply(specs).summary.succeeded == 40)
            try await cluster.patch("/api/v1/namespaces/\(namespace)/configmaps/c7", ["data": ["n": "x"]])
            let plan = try await cluster.plan(specs)
            #expect(plan.unchanged.count == 39)
            #expect(plan.actions.map(\.address.resource) == ["v1/ConfigMap/\(namespace)/c7"])
        }
    }

    @Test func aKindOutsideOfNamespacesIsFoundThere() async throws {
        let id = random()
        let definition = """
            apiVersion: apiextensions.k8s.io/v1
            kind: CustomResourceDefinition
            metadata: {name: planet\(id)s.example.org}
            spec:
              group: example.org
              scope: Cluster
              names: {plural: planet\(id)s, singular: planet\(id), kind: Planet\(id), listKind: Planet\(id)List}
              versions:
              - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
            """
        try await LiveCluster.with { cluster in
            #expect(try await cluster.apply(definition, wait: .seconds(20)).summary.succeeded == 1)
            let specs = "{apiVersion: example.org/v1, kind: Planet\(id), metadata: {name: p}, moons: [{name: a}, {name: b}]}"
            let outcome = try await cluster.apply(specs)
            #expect(outcome.summary.succeeded == 1, "\(outcome.events)")
            try await expectSettled(cluster, specs)
        }
    }

    /// A server of the test's own, with a cluster of its own in the lab's etcd, that is killed while it is asked.
    @Test func aServerThatIsKilledIsUnreachable() async throws {
        _ = try LiveCluster()
        let server = try await OwnServer()
        defer { server.kill() }
        let connection = try ClusterConnection(ClusterLogin(kubeconfig: server.kubeconfig, context: "own", timeout: .seconds(5)))
        let specs = (1...60).map { "{apiVersion: v1, kind: ConfigMap, metadata: {name: c\($0)}, data: {n: '\($0)'}}" }.joined(separator: "\n---\n")
        let desired = try LiveCluster().pass(specs).desired.resources
        func observe() async -> TargetObservation {
            await ClusterKinds.observe(desired, of: "own") { (request) throws(APIFailure) in try await connection.send(request) }
        }
        guard case .observed = await observe() else {
            Issue.record("the server can't be read")
            return
        }
        async let reading = observe()
        try await Task.sleep(for: .milliseconds(30))
        server.kill()
        let started = ContinuousClock.now
        for observation in [await reading, await observe()] {
            guard case .failed(let problem) = observation else { continue }
            #expect(problem.status == .unreachable)
        }
        guard case .failed(let problem) = await observe() else {
            Issue.record("a dead server can't be observed")
            return
        }
        #expect(problem.message.hasPrefix("can't connect to 127.0.0.1:\(server.port): connection refused"))
        #expect(ContinuousClock.now - started < .seconds(10))
        await connection.close()
    }
}

/// A kube-apiserver beside the lab's, over the same etcd under another prefix: to a client it is another cluster.
final class OwnServer {
    let port = Int.random(in: 20_000...29_999)
    let kubeconfig: String
    private let process = Process()
    private let folder: String

    init() async throws {
        let environment = ProcessInfo.processInfo.environment
        let lab = (environment["LAB"] ?? "") + "/api-server"
        folder = "\(NSTemporaryDirectory())plumb-own-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        kubeconfig = "\(folder)/kubeconfig"
        try """
        clusters: [{name: own, cluster: {server: "https://127.0.0.1:\(port)", certificate-authority: "\(lab)/ca.pem"}}]
        users: [{name: own, user: {client-certificate: "\(lab)/home.pem", client-key: "\(lab)/home.key"}}]
        contexts: [{name: own, context: {cluster: own, user: own}}]
        """.write(toFile: kubeconfig, atomically: true, encoding: .utf8)
        process.executableURL = URL(fileURLWithPath: "\(lab)/kube-apiserver")
        process.arguments = [
            "--etcd-servers=http://127.0.0.1:2379", "--etcd-prefix=/own-\(port)", "--secure-port=\(port)", "--bind-address=127.0.0.1",
            "--advertise-address=10.77.0.1", "--tls-cert-file=\(lab)/server.pem", "--tls-private-key-file=\(lab)/server.key", "--cert-dir=\(folder)",
            "--client-ca-file=\(lab)/ca.pem", "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.43.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=\(lab)/service-account.key", "--service-account-signing-key-file=\(lab)/service-account.key",
        ]
        // A port without authentication that old servers open by default, and of which there can be only one.
        let version = try Self.version(of: "\(lab)/kube-apiserver")
        if ["v1.20.", "v1.21.", "v1.22.", "v1.23."].contains(where: version.contains) { process.arguments?.append("--insecure-port=0") }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        let connection = try ClusterConnection(ClusterLogin(kubeconfig: kubeconfig, context: "own", timeout: .seconds(5)))
        for _ in 0..<300 {
            if let answer = try? await connection.send(APIRequest(.get, "/api/v1/namespaces/kube-system")), answer.status == 200 { break }
            try await Task.sleep(for: .milliseconds(100))
        }
        await connection.close()
    }

    func kill() {
        guard process.isRunning else { return }
        Foundation.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        try? FileManager.default.removeItem(atPath: folder)
    }

    private static func version(of binary: String) throws -> String {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(fileURLWithPath: binary)
        process.arguments = ["--version"]
        process.standardOutput = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: output, as: UTF8.self)
    }
}
