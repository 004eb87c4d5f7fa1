package import KubernetesAPI
package import ResourceModel
import Values

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
        await ClusterReading(cluster: cluster, resources: resources, send: send).read().observation
    }

    /// The same, and what the inventory has: objects that are no longer declared are read, too.
    ///
    /// - Guarantees: an inventory that can't be read is a note and prunes nothing.
    package static func observe(
        _ resources: [DesiredResource],
        of cluster: String,
        inventory: InventoryScope,
        send: @escaping APISender
    ) async -> ClusterObservation {
        await ClusterReading(cluster: cluster, resources: resources, inventory: inventory, send: send).read()
    }

    /// Writes down in the cluster what Plumb holds there.
    ///
    /// - Parameter source: where the specs come from, for people.
    /// - Returns: why it could not be written; nil: it is.
    package static func record(
        _ changes: [InventoryChange],
        in inventory: InventoryID,
        source: String,
        send: @escaping APISender
    ) async -> String? {
        await InventoryStore.write(changes, to: inventory, source: source, send: send)
    }

    /// What gives up an object that Plumb holds, its values left as they are: it is no longer Plumb's in `managedFields`. Empty: nothing of it
    /// is held. Afterwards `record` has to forget it.
    ///
    /// - Parameter facts: what was observed with the inventory, so that declared and undeclared objects are both among it.
    package static func release(_ owned: OwnedResource, in facts: TargetFacts) -> [Step] {
        KubernetesObject.release(owned, in: facts)
    }

    /// What an answer to an apply says of the object: its UID, and whether the apply has made it.
    package static func made(_ response: APIResponse) -> (uid: String, isCreated: Bool)? {
        guard let uid = response.body[path: "metadata", "uid"]?.stringValue else { return nil }
        return (uid, response.status == 201 || InventoryFindings.isMadeByUs(response.body))
    }

    /// Sends one request of an action; nil: it was taken.
    ///
    /// - Parameter onSuccess: called with the server's answer.
    package static func carryOut(
        _ request: Step.Request,
        for address: ResourceAddress,
        send: @escaping APISender,
        onSuccess: @Sendable (APIResponse) -> Void = { _ in }
    ) async -> Problem? {
        await KubernetesObject.carryOut(request, for: address, send: send, onSuccess: onSuccess)
    }

    /// Waits until an object is ready, as its kind understands it; nil: it is, or its kind knows no readiness.
    package static func awaitReadiness(
        of address: ResourceAddress,
        within limit: Duration,
        isInterrupted: @Sendable () -> Bool = { false },
        send: @escaping APISender
    ) async -> String? {
        await Readiness.wait(for: address, within: limit, isInterrupted: isInterrupted, send: send)
    }
}
