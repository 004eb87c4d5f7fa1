package import DriftDetection
package import ResourceModel

/// Whether specs in which values were replaced by what is live say just that, and nothing new of anything else.
package struct AdoptionCheck: Sendable {
    /// A resource, and what is said of it.
    package struct Remark: Hashable, Sendable {
        package var address: ResourceAddress
        /// The field it is about; nil: the resource.
        package var path: String?
        package var message: String
    }

    /// What was to be adopted and would differ all the same.
    package var remaining: [Remark] = []
    /// What else the replaced values mean, and how it would differ then.
    package var elsewhere: [Remark] = []
    /// What belongs to the adopted resources and follows them with the next apply.
    package var followUps: [Remark] = []

    /// - Parameters:
    ///   - wanted: What was to be adopted, as it stood before.
    ///   - adopted: The addresses of the replaced values.
    ///   - before, after: The specs as they are, and with the replaced values.
    ///   - observed: All targets that a replaced value means.
    package init(
        _ wanted: [ResourceDrift],
        adopted: Set<ResourceAddress>,
        before: DesiredState,
        after: DesiredState,
        observed: ObservedState,
        kinds: [RegisteredKind]
    ) {
        // The server was asked what it would make of the specs before; of the new ones it was not.
        let observed = observed.withoutPredictions
        let old = Self.byAddress(observedDrift(before, observed: observed, kinds: kinds))
        let new = Self.byAddress(observedDrift(after, observed: observed, kinds: kinds))
        for drift in wanted {
            let left = Set(new[drift.address]?.differences.map(\.path) ?? [])
            for difference in drift.differences where left.contains(difference.path) {
                remaining.append(Remark(address: drift.address, path: difference.path, message: "It would differ all the same. Change it by hand."))
            }
        }
        for drift in new.values.sorted(by: { $0.address < $1.address }) {
            let known = old[drift.address]
            let isNew = !Set(drift.differences).subtracting(known?.differences ?? []).isEmpty
            var words = isNew ? drift.differenceWords : ""
            if case .problem(let status, let message) = drift.standing, drift.standing != known?.standing { words = "\(status.rawValue): \(message)" }
            if words.isEmpty || remaining.contains(where: { $0.address == drift.address }) { continue }
            let isPart = adopted.contains { $0.target == drift.address.target && drift.address.resource.hasPrefix("\($0.resource)/") }
            if isPart {
                followUps.append(Remark(address: drift.address, message: words))
            } else {
                elsewhere.append(Remark(address: drift.address, message: words))
            }
        }
        for address in changedAddresses(from: before, to: after) {
            if case .observed? = observed.targets[address.target] { continue }
            elsewhere.append(Remark(address: address, message: "what is live there is not known"))
        }
    }

    private static func byAddress(_ drift: Drift) -> [ResourceAddress: ResourceDrift] {
        Dictionary(drift.resources.map { ($0.address, $0) }) { first, _ in first }
    }
}

/// The drift of those targets alone that were asked. Nothing is held back because it is paused.
package func observedDrift(_ desired: DesiredState, observed: ObservedState, kinds: [RegisteredKind]) -> Drift {
    var part = desired
    part.targets.removeAll { observed.targets[$0.name] == nil }
    part.resources.removeAll { observed.targets[$0.address.target] == nil }
    return detectDrift(desired: part, observed: observed, kinds: kinds)
}

/// Resources of which something else is declared, in the order of their addresses.
package func changedAddresses(from before: DesiredState, to after: DesiredState) -> [ResourceAddress] {
    let old = Dictionary(before.resources.map { ($0.address, $0.fields) }) { first, _ in first }
    let new = Dictionary(after.resources.map { ($0.address, $0.fields) }) { first, _ in first }
    return Set(old.keys).union(new.keys).filter { old[$0] != new[$0] }.sorted()
}

extension ObservedState {
    fileprivate var withoutPredictions: ObservedState {
        ObservedState(
            targets: targets.mapValues { observation in
                guard case .observed(var facts) = observation, case .cluster(let objects) = facts.facts else { return observation }
                facts.facts = .cluster(
                    objects.mapValues { object in
                        var object = object
                        object.predicted = nil
                        return object
                    }
                )
                return .observed(facts)
            }
        )
    }
}
