package import Values

/// A Lease as the server has it: who may do something alone, and for how long after the last renewal.
package struct Lease: Hashable, Sendable {
    /// Which Lease is meant.
    package struct Place: Hashable, Sendable, CustomStringConvertible {
        package var namespace: String
        package var name: String

        package init(namespace: String, name: String) {
            self.namespace = namespace
            self.name = name
        }

        package var description: String { "\(namespace)/\(name)" }
        package var read: APIRequest { APIRequest(.get, path) }
        var collection: String { "/apis/coordination.k8s.io/v1/namespaces/\(PercentEncoding.encodeSegment(namespace))/leases" }
        var path: String { "\(collection)/\(PercentEncoding.encodeSegment(name))" }
    }

    static let detailsKey = "plumb/holder"

    package let place: Place
    /// With all that is not ours to change.
    package private(set) var object: Value

    package init(_ object: Value, at place: Place = .apply) {
        self.object = object
        self.place = place
    }

    /// Empty: nobody.
    package var holder: String { object["spec"]?["holderIdentity"]?.stringValue ?? "" }
    /// What the holder says of itself besides, for programs.
    package var details: String { object["metadata"]?["annotations"]?[Self.detailsKey]?.stringValue ?? "" }
    /// In seconds; how long it counts after it was renewed. Bounded, since others can write it.
    package var duration: Int64 { min(max(object["spec"]?["leaseDurationSeconds"]?.intValue ?? 30, 1), 120) }
    /// On the holder's clock.
    package var renewed: String { object["spec"]?["renewTime"]?.stringValue ?? "" }
    package var acquired: String { object["spec"]?["acquireTime"]?.stringValue ?? "" }
    package var version: String { object["metadata"]?["resourceVersion"]?.stringValue ?? "" }
    /// How often its holder has changed.
    package var transitions: Int64 { object["spec"]?["leaseTransitions"]?.intValue ?? 0 }

    /// Given back by its holder, and not emptied by somebody while the holder still acts.
    package var isReleased: Bool { holder.isEmpty && object["spec"]?["leaseDurationSeconds"]?.intValue == Self.releasedDuration }
    private static let releasedDuration: Int64 = 1

    /// What a holder writes.
    package struct Claim: Hashable, Sendable {
        package var holder: String
        package var details: String
        /// In seconds.
        package var duration: Int64

        package init(holder: String, details: String, duration: Int64) {
            self.holder = holder
            self.details = details
            self.duration = duration
        }
    }

    /// - Parameter now: RFC 3339 with microseconds, as the server wants it.
    package static func create(_ claim: Claim, at place: Place = .apply, now: String) -> APIRequest {
        let metadata: Value = ["name": .string(place.name), "namespace": .string(place.namespace)]
        let empty: Value = ["apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata]
        let object = Lease(empty, at: place).object(claim, acquired: now, renewed: now, transitions: 0)
        return APIRequest(.post, place.collection, contentType: ContentType.json, body: object)
    }

    /// With the version that was read, so that of two who do this at the same time one is told 409.
    package func take(_ claim: Claim, now: String) -> APIRequest {
        replace(object(claim, acquired: now, renewed: now, transitions: transitions + 1))
    }

    package func renew(_ claim: Claim, now: String) -> APIRequest {
        replace(object(claim, acquired: acquired, renewed: now, transitions: transitions))
    }

    package func release(now: String) -> APIRequest {
        let nobody = Claim(holder: "", details: "", duration: Self.releasedDuration)
        return replace(object(nobody, acquired: acquired, renewed: now, transitions: transitions))
    }

    private func replace(_ body: Value) -> APIRequest {
        APIRequest(.put, place.path, contentType: ContentType.json, body: body)
    }

    private func object(_ claim: Claim, acquired: String, renewed: String, transitions: Int64) -> Value {
        guard case .object(var fields) = object else { return object }
        var spec = fields["spec"]?.objectValue ?? [:]
        spec["holderIdentity"] = .string(claim.holder)
        spec["leaseDurationSeconds"] = .int(claim.duration)
        spec["acquireTime"] = acquired.isEmpty ? .string(renewed) : .string(acquired)
        spec["renewTime"] = .string(renewed)
        spec["leaseTransitions"] = .int(transitions)
        var metadata = fields["metadata"]?.objectValue ?? [:]
        var annotations = metadata["annotations"]?.objectValue ?? [:]
        annotations[Self.detailsKey] = claim.details.isEmpty ? nil : .string(claim.details)
        metadata["annotations"] = annotations.isEmpty ? nil : .object(annotations)
        // The history of who set which field only grows, and nobody needs it sent back.
        metadata["managedFields"] = nil
        fields["spec"] = .object(spec)
        fields["metadata"] = .object(metadata)
        return .object(fields)
    }
}

/// The Lease that keeps two applies from changing one cluster at the same time.
package typealias ApplyLease = Lease

extension Lease {
    package static let namespace = Place.apply.namespace
    package static let name = Place.apply.name
    package static let read = Place.apply.read
}

extension Lease.Place {
    package static let apply = Self(namespace: "kube-system", name: "plumb-apply")
}
