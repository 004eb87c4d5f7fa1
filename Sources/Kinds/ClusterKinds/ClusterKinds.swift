package import KubernetesAPI
package import ResourceModel

/// The kinds of things in a cluster. One folder a kind, one line here.
package enum ClusterKinds {
    package static let all: [RegisteredKind] = []

    /// Asks an API server for all desired objects: lists where they cost less than gets, dry-runs for what differs.
    package static func observe(_ resources: [DesiredResource], of cluster: String, send: @escaping APISender) async -> TargetObservation {
        .failed(Problem(target: cluster, status: .unknown, message: "not there yet"))
    }

    /// Sends one request of an action; nil: it was taken.
    package static func carryOut(_ request: Step.Request, for address: ResourceAddress, send: @escaping APISender) async -> Problem? {
        Problem(target: address.target, address: address, status: .unknown, message: "not there yet")
    }

    /// Waits until an object is ready, as its kind understands it; nil: it is, or its kind knows no readiness.
    package static func awaitReadiness(of address: ResourceAddress, within limit: Duration, send: @escaping APISender) async -> String? { nil }
}
