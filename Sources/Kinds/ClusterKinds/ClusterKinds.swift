package import KubernetesAPI
package import ResourceModel

/// The kinds of things in a cluster. One folder a kind, one line here.
package enum ClusterKinds {
    package static let all: [RegisteredKind] = [
        KubernetesObject.kind
    ]

    /// Asks an API server for all desired objects: lists where they cost less than gets, dry-runs for what differs.
    ///
    /// - Flow: who the cluster is and which kinds it has; then every object; then a server-side dry-run of each that is not as declared.
    /// - Guarantees: nothing is changed. At most eight requests are under way. Secrets are hidden from the moment they are read.
    /// - Errors: what is wrong with one object is that object's problem; only where nothing can be read has the whole target failed.
    package static func observe(_ resources: [DesiredResource], of cluster: String, send: @escaping APISender) async -> TargetObservation {
        await ClusterReading(cluster: cluster, resources: resources, send: send).read()
    }

    /// Sends one request of an action; nil: it was taken.
    package static func carryOut(_ request: Step.Request, for address: ResourceAddress, send: @escaping APISender) async -> Problem? {
        await KubernetesObject.carryOut(request, for: address, send: send)
    }

    /// Waits until an object is ready, as its kind understands it; nil: it is, or its kind knows no readiness.
    package static func awaitReadiness(of address: ResourceAddress, within limit: Duration, send: @escaping APISender) async -> String? {
        await Readiness.wait(for: address, within: limit, send: send)
    }
}
