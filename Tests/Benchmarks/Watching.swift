import ClusterKinds
import DriftDetection
import Foundation
import Kubernetes
import KubernetesAPI
import Planning
import ResourceModel
import SpecLoading
import Synchronization
import Values

/// Somebody changes a Service's type; how long until the event is here, and until it is put back, beside the same PATCH alone, in turns.
func watchBenchmark(trials: Int) async throws {
    let environment = ProcessInfo.processInfo.environment
    guard environment["LAB"] != nil, let kubeconfig = environment["KUBECONFIG"] else {
        print("there is no lab with an API server: run Tests/Benchmarks/run")
        exit(64)
    }
    let login = ClusterLogin(kubeconfig: kubeconfig, context: "home")
    let ours = try ClusterConnection(login)
    let others = try ClusterConnection(login)
    let loop = try await Loop(ours)
    let watching = Task { [loop] in await loop.follow() }
    var bare: [Double] = []
    var lags: [Double] = []
    var reactions: [Double] = []
    var wholes: [Double] = []
    for trial in 0..<trials + 20 {
        let alone = try await alone(ours, others)
        let timed = try await loop.trial(others)
        // The first ones open connections.
        guard trial >= 20 else { continue }
        bare.append(alone)
        lags.append(timed.event - timed.changed)
        reactions.append(timed.done - timed.event)
        wholes.append(timed.done - timed.changed)
    }
    watching.cancel()
    await watching.value
    await ours.close()
    await others.close()
    func shown(_ values: [Double]) -> [String] {
        let samples = Samples(values)
        return [samples.quantile(0.5), samples.quantile(0.95), samples.quantile(1)].map { String(format: "%.2f ms", $0 * 1000) }
    }
    line(["\(trials) trials, in turns", "p50", "p95", "most"], widths: [58, 12, 12, 12])
    for (name, values) in [
        ("bare PATCH, alone", bare), ("somebody's PATCH is answered → the event is here", lags), ("event → our PATCH is answered", reactions),
        ("somebody's PATCH is answered → ours is answered", wholes),
    ] {
        line([name] + shown(values), widths: [58, 12, 12, 12])
    }
    let ratio = Samples(wholes).median / Samples(bare).median
    print("the whole loop is \(String(format: "%.2f", ratio)) × the bare PATCH; of it \(loop.passes) needed a pass")
}

/// The same PATCH of a Service that nobody watches.
private func alone(_ ours: ClusterConnection, _ others: ClusterConnection) async throws -> Double {
    let path = "/api/v1/namespaces/default/services/benchmark"
    func body(_ type: String) -> Value {
        [
            "apiVersion": "v1", "kind": "Service", "metadata": ["name": "benchmark"],
            "spec": ["type": .string(type), "ports": [["port": 443, "protocol": "TCP"]]],
        ]
    }
    _ = try await others.send(.apply(path, body: body("ClusterIP"), fieldManager: "somebody", isForced: true))
    let request = APIRequest.apply(path, body: body("LoadBalancer"), fieldManager: "plumb", isForced: true)
    let start = seconds()
    let answer = try await ours.send(request)
    guard answer.status == 200 else { throw Failed(description: "\(answer)") }
    return seconds() - start
}

private struct Failed: Error, CustomStringConvertible {
    var description: String
}

private func seconds() -> Double { Double(DispatchTime.now().uptimeNanoseconds) / 1e9 }

/// Holds `default/kubernetes` at LoadBalancer, by its events alone.
private final class Loop: Sendable {
    struct Times {
        var changed = 0.0
        var event = 0.0
        var done = 0.0
    }

    private struct State {
        var memory: ClusterMemory
        var times = Times()
        var waiting: CheckedContinuation<Void, Never>?
        var passes = 0
    }

    private static let path = "/api/v1/namespaces/default/services/kubernetes"
    private let connection: ClusterConnection
    private let resource: DesiredResource
    private let watch: ObjectWatch
    private let objects: WatchedObjects
    private let state: Mutex<State>

    init(_ connection: ClusterConnection) async throws {
        let specs = """
            {apiVersion: plumb/v1, kind: Cluster, metadata: {name: home}, spec: {context: home}}
            ---
            apiVersion: v1
            kind: Service
            metadata: {name: kubernetes, namespace: default, annotations: {plumb/manage: fields}}
            spec: {type: LoadBalancer}
            """
        let file = SpecFile(path: "specs.yaml", relativePath: "specs.yaml", bytes: Array(specs.utf8))
        let resources = try loadSpecs([file], kinds: ClusterKinds.all, options: LoadOptions(contentHash: "")).resources
        let body: Value = [
            "apiVersion": "v1", "kind": "Service", "metadata": ["name": "kubernetes", "namespace": "default"], "spec": ["type": "LoadBalancer"],
        ]
        _ = try await connection.send(.apply(Self.path, body: body, fieldManager: "plumb", isForced: true))
        let observation = await ClusterKinds.observe(resources, of: "home") { (request) throws(APIFailure) in try await connection.send(request) }
        guard case .observed(let facts) = observation, let memory = ClusterMemory(facts, of: resources), let resource = resources.first,
            let (watch, objects) = memory.watches(for: resources).first
        else { throw Failed(description: "\(observation)") }
        self.connection = connection
        (self.resource, self.watch, self.objects) = (resource, watch, objects)
        state = Mutex(State(memory: memory))
    }

    var passes: Int { state.withLock { $0.passes } }

    func follow() async {
        await connection.follow(watch) { [self] event in
            let now = seconds()
            let request: Step.Request? = state.withLock { state in
                let judgement = state.memory.judge([resource], live: objects.seen(in: event))
                if !judgement.needsFullPass.isEmpty { state.passes += 1 }
                guard let request = Self.request(judgement) else { return nil }
                state.times.event = now
                return request
            }
            guard let request else { return }
            Task { await answer(request) }
        }
    }

    private static func request(_ judgement: ObjectJudgement) -> Step.Request? {
        guard !judgement.resources.isEmpty else { return nil }
        let kinds = Dictionary(ClusterKinds.all.map { ($0.name, $0) }) { first, _ in first }
        let drifts = detectDrift(resources: judgement.resources, facts: judgement.facts, kinds: kinds)
        let drift = Drift(resources: drifts, identities: ["home": judgement.facts.identity])
        let plan = Planning.plan(drift, kinds: ClusterKinds.all, contentHash: "", revision: nil, source: "benchmark")
        guard case .send(let request)? = plan.actions.first?.steps.first?.operation else { return nil }
        return request
    }

    private func answer(_ request: Step.Request) async {
        let connection = connection
        let problem = await ClusterKinds.carryOut(
            request,
            for: resource.address,
            send: { (request) throws(APIFailure) in try await connection.send(request) },
            onSuccess: { response in
                state.withLock { state in
                    state.times.done = seconds()
                    _ = state.memory.learn(from: response, to: request, of: resource)
                }
            }
        )
        if let problem { print(problem.message) }
        wake()
    }

    private func wake() {
        let waiting = state.withLock { state in
            defer { state.waiting = nil }
            return state.times.changed > 0 && state.times.done > 0 ? state.waiting : nil
        }
        waiting?.resume()
    }

    /// Somebody changes it; returns when it is as it was.
    func trial(_ others: ClusterConnection) async throws -> Times {
        state.withLock { $0.times = Times() }
        let answer = try await others.send(.mergePatch(Self.path, body: ["spec": ["type": "ClusterIP"]], fieldManager: "somebody"))
        let changed = seconds()
        guard answer.status == 200 else { throw Failed(description: "\(answer)") }
        await withCheckedContinuation { continuation in
            let isDone = state.withLock { state in
                state.times.changed = changed
                if state.times.done > 0 { return true }
                state.waiting = continuation
                return false
            }
            if isDone { continuation.resume() }
        }
        return state.withLock { $0.times }
    }
}
