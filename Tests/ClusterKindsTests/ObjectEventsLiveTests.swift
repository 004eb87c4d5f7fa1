import Applying
import ClusterKinds
import DriftDetection
import Foundation
import Kubernetes
import KubernetesAPI
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Testing
import Values

/// Events of a real API server, and what is done about them without asking it.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct ObjectEventsLiveTests {
    /// Keeps declared objects as they are by their events alone, as the controller does.
    private final class Keeper: Sendable {
        private struct State {
            var memory: ClusterMemory
            var said: [String] = []
            var seen = 0
        }

        let resources: [DesiredResource]
        let watches: [ObjectWatch: WatchedObjects]
        private let cluster: LiveCluster
        private let state: Mutex<State>

        /// After everything was applied and observed again.
        init(_ cluster: LiveCluster, _ manifests: String) async throws {
            let outcome = try await cluster.apply(manifests)
            #expect(outcome.summary.failed == 0, "\(outcome.events)")
            let resources = try cluster.pass(manifests).desired.resources
            guard case .observed(let facts) = await ClusterKinds.observe(resources, of: "home", send: cluster.send),
                let memory = ClusterMemory(facts, of: resources)
            else { throw LiveCluster.NoLab() }
            self.cluster = cluster
            self.resources = resources
            watches = memory.watches(for: resources)
            state = Mutex(State(memory: memory))
        }

        var said: [String] { state.withLock { $0.said } }
        /// How many objects events have told of.
        var seen: Int { state.withLock { $0.seen } }

        func keep() async {
            await withTaskGroup(of: Void.self) { group in
                for (watch, objects) in watches {
                    group.addTask {
                        let (events, feed) = AsyncStream.makeStream(of: WatchEvent.self)
                        let reader = Task { await self.cluster.connection.follow(watch) { feed.yield($0) } }
                        for await event in events { await self.answer(objects.seen(in: event)) }
                        reader.cancel()
                        await reader.value
                    }
                }
            }
        }

        private func answer(_ seen: [ResourceAddress: SeenObject]) async {
            let judgement = state.withLock { state in
                let judgement = state.memory.judge(resources, live: seen)
                state.said += judgement.needsFullPass.map { "\($0.key.resource): full pass, \($0.value)" }
                return judgement
            }
            let kinds = Dictionary(ClusterKinds.all.map { ($0.name, $0) }) { first, _ in first }
            for drift in detectDrift(resources: judgement.resources, facts: judgement.facts, kinds: kinds) where drift.standing == .differs {
                guard let change = kinds[drift.handler]?.change(drift), let resource = resources.first(where: { $0.address == drift.address }) else {
                    continue
                }
                for step in change.steps {
                    guard case .send(let request) = step.operation else { continue }
                    let problem = await ClusterKinds.carryOut(request, for: drift.address, send: cluster.send) { answer in
                        state.withLock { state in
                            let facts = state.memory.learn(from: answer, to: request, of: resource)
                            let standing = facts.map { detectDrift(resources: [resource], facts: $0, kinds: kinds) }?.first?.standing
                            state.said.append(
                                "\(drift.address.resource): changed, \(standing == .inSync ? "in sync" : "\(String(describing: standing))")"
                            )
                        }
                    }
                    if let problem { state.withLock { $0.said.append(problem.message) } }
                }
            }
            state.withLock { $0.seen += seen.count }
        }
    }

    private func wait(_ what: String, until condition: () async throws -> Bool) async throws {
        for _ in 0..<6000 {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(5))
        }
        Issue.record("\(what) did not come about")
    }

    @Test func theServiceIsPutBackOncePerChange() async throws {
        try await LiveCluster.with { cluster in
            let path = KubernetesServiceLiveTests.path
            try await wait("the Service") { try await cluster.request(APIRequest(.get, path)).status == 200 }
            let keeper = try await Keeper(cluster, KubernetesServiceLiveTests.spec)
            #expect(keeper.watches.keys.map(\.words) == ["services default/kubernetes"])
            let task = Task { await keeper.keep() }
            try await wait("the list") { keeper.seen >= 1 }
            for round in 1...20 {
                try await cluster.patch(path, ["spec": ["type": "ClusterIP"]])
                try await wait("the change") { keeper.said.count >= round }
                let live = try await cluster.request(APIRequest(.get, path)).body
                #expect(live[path: "spec", "type"] == "LoadBalancer")
            }
            // Each change brings two events, the other one's and ours; nothing was done about ours.
            try await wait("all events") { keeper.seen >= 41 }
            #expect(keeper.said == (0..<20).map { _ in "v1/Service/default/kubernetes: changed, in sync" })
            task.cancel()
            await task.value
        }
    }

    /// The server writes `1000m` as `1` in a place of which Plumb knows nothing.
    @Test func whatTheServerWritesInItsOwnWayIsNotFought() async throws {
        try await LiveCluster.with { cluster in
            let namespace = try await cluster.namespace()
            let manifests = """
                apiVersion: v1
                kind: LimitRange
                metadata: {name: a, namespace: \(namespace), labels: {mine: "1"}}
                spec: {limits: [{type: Container, max: {cpu: 1000m}}]}
                """
            let keeper = try await Keeper(cluster, manifests)
            let path = "/api/v1/namespaces/\(namespace)/limitranges/a"
            let live = try await cluster.request(APIRequest(.get, path)).body
            #expect(live[path: "spec", "limits"]?.arrayValue?.first?[path: "max", "cpu"] == "1")
            let task = Task { await keeper.keep() }
            try await wait("the list") { keeper.seen >= 1 }
            try await cluster.patch(path, ["metadata": ["labels": ["theirs": "1"]]])
            try await wait("the event") { keeper.seen >= 2 }
            #expect(keeper.said == [])
            try await cluster.patch(path, ["metadata": ["labels": ["mine": "2"]]])
            try await wait("both events") { keeper.seen >= 4 }
            #expect(keeper.said == ["v1/LimitRange/\(namespace)/a: changed, in sync"])
            try await cluster.patch(path, ["spec": ["limits": [["type": "Container", "max": ["cpu": "2"]]]]])
            try await wait("a question") { keeper.said.count == 2 }
            #expect(keeper.said.last?.contains("full pass, whether spec.limits") == true)
            task.cancel()
            await task.value
        }
    }
}
