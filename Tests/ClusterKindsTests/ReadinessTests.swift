import KubernetesAPI
import ResourceModel
import Testing
import Values

@testable import ClusterKinds

/// Status of an object → what is said of its readiness.
struct ReadinessTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var kind: String
        var json: String
        var said: String
        var testDescription: String { "\(kind) \(said)" }

        init(_ kind: String, _ json: String, _ said: String) {
            self.kind = kind
            self.json = json
            self.said = said
        }
    }

    static let cases = [
        Case("v1/ConfigMap", #"{}"#, "ready"),
        Case("apps/v1/Deployment", #"{"spec":{"replicas":3}}"#, "waiting: its controller has not seen it yet"),
        Case(
            "apps/v1/Deployment",
            #"{"metadata":{"generation":2},"spec":{"replicas":3},"status":{"observedGeneration":1,"readyReplicas":3,"updatedReplicas":3}}"#,
            "waiting: its controller has not seen the change yet"
        ),
        Case(
            "apps/v1/Deployment",
            #"{"metadata":{"generation":2},"spec":{"replicas":3},"status":{"observedGeneration":2,"updatedReplicas":3,"readyReplicas":2}}"#,
            "waiting: 2 of 3 replicas ready"
        ),
        Case(
            "apps/v1/Deployment",
            #"{"spec":{"replicas":3},"status":{"observedGeneration":2,"updatedReplicas":1,"readyReplicas":3}}"#,
            "waiting: 1 of 3 replicas updated"
        ),
        Case(
            "apps/v1/Deployment",
            #"{"spec":{"replicas":1},"status":{"observedGeneration":2,"updatedReplicas":1,"readyReplicas":1,"replicas":2,"availableReplicas":1}}"#,
            "waiting: 1 old replicas still run"
        ),
        Case(
            "apps/v1/Deployment",
            #"{"spec":{"replicas":0},"status":{"observedGeneration":2}}"#,
            "ready"
        ),
        Case(
            "apps/v1/Deployment",
            #"{"status":{"observedGeneration":2,"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded","message":"timed out"}]}}"#,
            "failed: timed out"
        ),
        Case(
            "apps/v1/Deployment",
            #"{"status":{"observedGeneration":2,"updatedReplicas":1,"conditions":[{"type":"ReplicaFailure","status":"True","message":"exceeded quota"}]}}"#,
            "waiting: 0 of 1 replicas ready; exceeded quota"
        ),
        Case(
            "apps/v1/Deployment",
            #"{"status":{"observedGeneration":2,"updatedReplicas":1,"readyReplicas":1,"replicas":1,"availableReplicas":1}}"#,
            "ready"
        ),
        Case(
            "apps/v1/StatefulSet",
            #"{"spec":{"replicas":2},"status":{"observedGeneration":1,"readyReplicas":1}}"#,
            "waiting: 1 of 2 replicas ready"
        ),
        Case(
            "apps/v1/StatefulSet",
            #"{"spec":{"replicas":2,"updateStrategy":{"rollingUpdate":{"partition":1}}},"status":{"observedGeneration":1,"readyReplicas":2,"updatedReplicas":1}}"#,
            "ready"
        ),
        Case(
            "apps/v1/StatefulSet",
            #"{"status":{"observedGeneration":1,"readyReplicas":1,"updatedReplicas":1,"currentRevision":"a","updateRevision":"b"}}"#,
            "waiting: the update is not finished"
        ),
        Case(
            "apps/v1/DaemonSet",
            #"{"status":{"observedGeneration":1,"desiredNumberScheduled":4,"updatedNumberScheduled":4,"numberReady":3}}"#,
            "waiting: ready on 3 of 4 nodes"
        ),
        Case("apps/v1/DaemonSet", #"{"status":{"observedGeneration":1}}"#, "ready"),
        Case("batch/v1/Job", #"{"spec":{"completions":3},"status":{"succeeded":1}}"#, "waiting: 1 of 3 completions, 0 failed"),
        Case(
            "batch/v1/Job",
            #"{"status":{"conditions":[{"type":"Failed","status":"True","reason":"BackoffLimitExceeded"}]}}"#,
            "failed: the job has failed: BackoffLimitExceeded"
        ),
        Case("batch/v1/Job", #"{"status":{"conditions":[{"type":"Complete","status":"True"}]}}"#, "ready"),
        Case(
            "v1/Pod",
            #"{"status":{"phase":"Running","containerStatuses":[{"name":"a","ready":true},{"name":"b","ready":false,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}"#,
            "waiting: 1 of 2 containers ready; container b: CrashLoopBackOff"
        ),
        Case(
            "v1/Pod",
            #"{"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","message":"0/3 nodes are available"}]}}"#,
            "waiting: not scheduled: 0/3 nodes are available"
        ),
        Case("v1/Pod", #"{"status":{"phase":"Failed","reason":"Evicted"}}"#, "failed: the pod has failed: Evicted"),
        Case("v1/Pod", #"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#, "ready"),
        Case("v1/PersistentVolumeClaim", #"{"status":{"phase":"Bound"}}"#, "ready"),
        Case("v1/PersistentVolumeClaim", #"{"status":{"phase":"Lost"}}"#, "failed: its volume is lost"),
        Case("v1/Service", #"{"spec":{"type":"ClusterIP"}}"#, "ready"),
        Case(
            "v1/Service",
            #"{"spec":{"type":"LoadBalancer"},"status":{"loadBalancer":{}}}"#,
            "waiting: no load balancer has given it an address yet"
        ),
        Case("v1/Service", #"{"spec":{"type":"LoadBalancer"},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}"#, "ready"),
        Case("v1/Namespace", #"{"status":{"phase":"Active"}}"#, "ready"),
        Case("v1/Namespace", #"{"metadata":{"deletionTimestamp":"x"},"status":{"phase":"Terminating"}}"#, "waiting: it is being deleted"),
        Case(
            "apiextensions.k8s.io/v1/CustomResourceDefinition",
            #"{"status":{"conditions":[{"type":"NamesAccepted","status":"False","message":"taken"}]}}"#,
            "failed: its names are taken: taken"
        ),
        Case(
            "apiextensions.k8s.io/v1/CustomResourceDefinition",
            #"{"status":{"conditions":[{"type":"Established","status":"True"}]}}"#,
            "ready"
        ),
        Case(
            "apiregistration.k8s.io/v1/APIService",
            #"{"status":{"conditions":[{"type":"Available","status":"False","message":"no endpoints"}]}}"#,
            "waiting: not available: no endpoints"
        ),
        Case(
            "cert-manager.io/v1/Certificate",
            #"{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Issuing"}]}}"#,
            "waiting: Issuing"
        ),
        Case("source.toolkit.fluxcd.io/v1/X", #"{"status":{"conditions":[{"type":"Stalled","status":"True","message":"no"}]}}"#, "failed: no"),
    ]

    @Test(arguments: Self.cases)
    func saysWhatIsMissing(item: Case) throws {
        var object = try Value(json: item.json.utf8)
        let slash = try #require(item.kind.lastIndex(of: "/"))
        object["apiVersion"] = .string(String(item.kind[..<slash]))
        object["kind"] = .string(String(item.kind[item.kind.index(after: slash)...]))
        let said =
            switch Readiness(of: object) {
            case .ready: "ready"
            case .waiting(let what): "waiting: \(what)"
            case .failed(let why): "failed: \(why)"
            }
        #expect(said == item.said)
    }

    @Test func addressesComeApart() {
        let service = ObjectAddress("v1/Service/default/kubernetes")
        #expect(service?.groupVersion == GroupVersion(group: "", version: "v1"))
        #expect(service?.namespace == "default")
        let cluster = ObjectAddress("rbac.authorization.k8s.io/v1/ClusterRole/system:a")
        #expect(cluster?.kind == "ClusterRole")
        #expect(cluster?.namespace == nil)
        #expect(cluster?.name == "system:a")
        #expect(ObjectAddress("v1/Namespace/x")?.name == "x")
        #expect(ObjectAddress("v1/Namespace") == nil)
        #expect(ObjectAddress("") == nil)
    }
}
