import Applying
import ClusterKinds
import Foundation
import Kubernetes
import KubernetesAPI
import Observing
import Planning
import Reconciling
import ResourceModel
import SpecLoading
import Synchronization
import Values

/// The lab's real API server, as `plumb plan` and `plumb apply` meet it: specs as text, the engine's own stages, the real driver.
struct LiveCluster: Sendable {
    struct NoLab: Error, CustomStringConvertible {
        var description: String {
            "there is no API server to test with: run this inside the lab, `Tests/run --filter ClusterKindsTests` or "
                + "`Tests/Lab/lab run --api-server -- swift test --skip-build --filter ClusterKindsTests`"
        }
    }

    let connection: ClusterConnection
    let context: String

    /// - Throws: `NoLab` outside of the lab. Tests that are skipped there would look like tests that passed.
    init(context: String = "home", timeout: Duration = .seconds(30)) throws {
        let environment = ProcessInfo.processInfo.environment
        guard environment["LAB"] != nil, let kubeconfig = environment["KUBECONFIG"] else { throw NoLab() }
        self.context = context
        connection = try ClusterConnection(ClusterLogin(kubeconfig: kubeconfig, context: context, timeout: timeout))
    }

    static func with<Result>(context: String = "home", _ body: (LiveCluster) async throws -> Result) async throws -> Result {
        let cluster = try LiveCluster(context: context)
        do {
            let result = try await body(cluster)
            await cluster.connection.close()
            return result
        } catch {
            await cluster.connection.close()
            throw error
        }
    }

    var send: APISender {
        { [connection] (request) throws(APIFailure) in try await connection.send(request) }
    }

    func pass(_ manifests: String) throws -> Pass {
        let text = """
            apiVersion: plumb/v1
            kind: Cluster
            metadata: {name: home}
            spec: {context: \(context)}
            ---
            \(manifests)
            """
        let file = SpecFile(path: "specs.yaml", relativePath: "specs.yaml", bytes: Array(text.utf8))
        let desired = try loadSpecs([file], kinds: ClusterKinds.all, options: LoadOptions(contentHash: "test"))
        return Pass(desired: desired, kinds: ClusterKinds.all, source: "test", concurrency: 4)
    }

    var observer: TargetObserver {
        { [send] target, resources in await ClusterKinds.observe(resources, of: target.name, send: send) }
    }

    func plan(_ manifests: String) async throws -> Plan { try await pass(manifests).plan(observer: observer) }

    struct Outcome {
        var plan: Plan
        var summary: ApplySummary
        var events: [String]
    }

    func apply(_ manifests: String, wait: Duration? = nil) async throws -> Outcome {
        let pass = try pass(manifests)
        let plan = await pass.plan(observer: observer)
        let events = Mutex<[String]>([])
        let collaborators = ApplyCollaborators(
            execute: { [send] _, action in
                for step in action.steps {
                    guard case .send(let request) = step.operation else { continue }
                    if let problem = await ClusterKinds.carryOut(request, for: action.address, send: send) { return problem }
                }
                return nil
            },
            observe: observer,
            awaitReadiness: { [send] _, address, limit, _ in await ClusterKinds.awaitReadiness(of: address, within: limit, send: send) }
        )
        let summary = await Applying.apply(
            plan,
            desired: pass.desired,
            kinds: ClusterKinds.all,
            collaborators: collaborators,
            options: ApplyOptions(wait: wait),
            report: { event in events.withLock { $0.append("\(event)") } }
        )
        return Outcome(plan: plan, summary: summary, events: events.withLock { $0 })
    }

    /// Somebody else.
    @discardableResult
    func request(_ request: APIRequest) async throws -> APIResponse { try await connection.send(request) }

    func patch(_ path: String, _ body: Value, as manager: String = "intruder") async throws {
        let response = try await request(.mergePatch(path, body: body, fieldManager: manager))
        guard response.status == 200 else { throw Unexpected(response: response) }
    }

    struct Unexpected: Error { var response: APIResponse }

    /// A namespace of the test's own, so that tests can run beside each other.
    func namespace(_ name: String = "t-\(UInt32.random(in: 0...UInt32.max))") async throws -> String {
        let namespaces = APIResource(groupVersion: GroupVersion("v1"), kind: "Namespace", plural: "namespaces", isNamespaced: false)
        let body: Value = ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": .string(name)]]
        let response = try await request(.create(namespaces, namespace: nil, body: body, fieldManager: "test"))
        guard response.status == 201 else { throw Unexpected(response: response) }
        return name
    }
}
