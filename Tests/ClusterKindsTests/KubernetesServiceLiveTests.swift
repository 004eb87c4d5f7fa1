import Applying
import ClusterKinds
import Foundation
import KubernetesAPI
import Planning
import ResourceModel
import Testing
import Values

/// The Service `default/kubernetes` of a real API server, which is a real opponent: it makes the Service anew when it is deleted.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct KubernetesServiceLiveTests {
    static let path = "/api/v1/namespaces/default/services/kubernetes"
    static let spec = """
        apiVersion: v1
        kind: Service
        metadata: {name: kubernetes, namespace: default, annotations: {plumb/manage: fields}}
        spec: {type: LoadBalancer}
        """

    /// As the server made it. (Deleting it would do the same, in ten seconds.)
    private func reset(_ cluster: LiveCluster) async throws {
        try await waitForService(cluster)
        try await cluster.patch(Self.path, ["spec": ["type": "ClusterIP"]], as: "kube-apiserver")
    }

    private func waitForService(_ cluster: LiveCluster) async throws {
        for _ in 0..<300 {
            if try await cluster.request(APIRequest(.get, Self.path)).status == 200 { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        Issue.record("the API server did not make its Service anew")
    }

    @Test func becomesLoadBalancerAndStaysIt() async throws {
        try await LiveCluster.with { cluster in
            try await reset(cluster)
            let outcome = try await cluster.apply(Self.spec)
            #expect(outcome.plan.problems == [])
            let action = try #require(outcome.plan.actions.first)
            #expect(outcome.plan.actions.count == 1)
            #expect(action.address.description == "home/v1/Service/default/kubernetes")
            #expect(action.fields == [FieldDifference(path: "spec.type", observed: "ClusterIP", desired: "LoadBalancer")])
            #expect(
                action.steps.map(\.summary) == [
                    "server-side apply Service default/kubernetes as field manager plumb, forced: spec.type=LoadBalancer"
                ]
            )
            #expect(action.reason.hasPrefix("spec.type was last set by kube-apiserver (Update) at 20"))
            #expect(outcome.summary.succeeded == 1, "\(outcome.events)")
            #expect(outcome.summary.failed == 0)

            let live = try await cluster.request(APIRequest(.get, Self.path)).body
            #expect(live[path: "spec", "type"] == "LoadBalancer")
            #expect(live[path: "spec", "clusterIP"] == "10.43.0.1")

            let second = try await cluster.plan(Self.spec)
            #expect(second.actions == [])
            #expect(second.problems == [])
            #expect(second.unchanged.count == 1)
        }
    }

    @Test func isSeenWhenTheServerMakesItAnew() async throws {
        try await LiveCluster.with { cluster in
            _ = try await cluster.apply(Self.spec)
            try await cluster.request(APIRequest(.delete, Self.path))
            let gone = try await cluster.plan(Self.spec)
            if gone.actions.isEmpty {
                // Within its ten seconds: it is waited for, never made.
                #expect(gone.problems.map(\.status) == [.blocked])
                #expect(gone.problems.first?.message.contains("never creates it") == true)
            }
            try await waitForService(cluster)
            let plan = try await cluster.plan(Self.spec)
            #expect(plan.actions.map(\.fields) == [[FieldDifference(path: "spec.type", observed: "ClusterIP", desired: "LoadBalancer")]])
            #expect(plan.actions.first?.reason.contains("kube-apiserver") == true)
            _ = try await cluster.apply(Self.spec)
        }
    }

    @Test func namesWhoTookTheField() async throws {
        try await LiveCluster.with { cluster in
            _ = try await cluster.apply(Self.spec)
            try await cluster.patch(Self.path, ["spec": ["type": "NodePort"]], as: "somebody")
            let plan = try await cluster.plan(Self.spec)
            let action = try #require(plan.actions.first)
            #expect(action.fields == [FieldDifference(path: "spec.type", observed: "NodePort", desired: "LoadBalancer")])
            #expect(action.reason.hasPrefix("spec.type was last set by somebody (Update) at "))
            #expect(action.steps.first?.summary.contains("forced") == true)
            let outcome = try await cluster.apply(Self.spec)
            #expect(outcome.summary.succeeded == 1, "\(outcome.events)")
        }
    }

    /// The object vanishes between plan and apply: it must not be created.
    @Test func isNeverCreated() async throws {
        try await LiveCluster.with { cluster in
            try await reset(cluster)
            let plan = try await cluster.plan(Self.spec)
            let action = try #require(plan.actions.first)
            try await cluster.request(APIRequest(.delete, Self.path))
            guard case .send(let request)? = action.steps.first?.operation else {
                Issue.record("no request")
                return
            }
            let problem = await ClusterKinds.carryOut(request, for: action.address, send: cluster.send)
            #expect(problem?.status == .blocked)
            #expect(problem?.message == "the object that was read is gone, or another came in its place. Plan again")
            try await waitForService(cluster)
            let live = try await cluster.request(APIRequest(.get, Self.path)).body
            #expect(live[path: "spec", "type"] == "ClusterIP")
        }
    }

    @Test func aReaderGetsAnUnconfirmedPlan() async throws {
        try await LiveCluster.with { try await reset($0) }
        try await LiveCluster.with(context: "reader") { cluster in
            let plan = try await cluster.plan(Self.spec)
            let action = try #require(plan.actions.first)
            #expect(action.fields == [FieldDifference(path: "spec.type", observed: "ClusterIP", desired: "LoadBalancer")])
            #expect(action.reason.contains("not confirmed by the server: user reader may not patch services in namespace default"))
        }
    }

    @Test func nobodyIsDenied() async throws {
        try await LiveCluster.with(context: "nobody") { cluster in
            let plan = try await cluster.plan(Self.spec)
            #expect(plan.actions == [])
            #expect(plan.problems.map(\.status) == [.denied])
            #expect(plan.problems.first?.message.hasPrefix("user nobody may not get services in namespace default. A Role with") == true)
            #expect(plan.notes.contains { $0.contains("namespace kube-system can't be read") })
        }
    }

    @Test func anExpiredTokenIsDenied() async throws {
        try await LiveCluster.with(context: "expired") { cluster in
            let plan = try await cluster.plan(Self.spec)
            #expect(plan.problems.map(\.status) == [.denied])
            let message = plan.problems.first?.message ?? ""
            #expect(message.contains("refused the credentials (401): the token is wrong or has expired"))
            #expect(message.contains("user 'expired', context 'expired' of "))
        }
    }
}
