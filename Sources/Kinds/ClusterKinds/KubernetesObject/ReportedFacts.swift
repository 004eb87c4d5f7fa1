package import KubernetesAPI
package import ResourceModel
import Values

extension ClusterKinds {
    /// Asks what an apply would make of other manifests for objects that were read already; nothing is read again but what a refusal hid.
    ///
    /// - Parameter resources: Each has to be among the facts.
    /// - Guarantees: as of `observe`.
    package static func predict(
        _ resources: [DesiredResource],
        in facts: TargetFacts,
        of cluster: String,
        send: @escaping APISender
    ) async -> TargetFacts {
        guard case .cluster(var objects) = facts.facts else { return facts }
        var facts = facts
        let reading = ClusterReading(cluster: cluster, resources: resources, send: send)
        do throws(APIFailure) {
            try await reading.predictAgain(&objects)
        } catch {
            for resource in resources {
                objects[resource.address.resource] = ObservedObject(
                    problem: Problem(target: cluster, address: resource.address, status: error.problemStatus, message: error.message)
                )
            }
        }
        facts.facts = .cluster(objects)
        return facts
    }

    /// The facts without our own entries in `managedFields`, so that nothing is said of fields that were declared once and are no longer.
    package static func withoutPast(_ facts: TargetFacts) -> TargetFacts {
        mapObjects(facts) { object in
            guard let entries = object.live?[path: "metadata", "managedFields"]?.arrayValue else { return }
            // Somebody set them, so they still tell how lists are made up; only not that we did.
            object.live?["metadata"]?["managedFields"] = .array(
                entries.map { entry in
                    guard entry["manager"] == .string(KubernetesObject.fieldManager), entry["operation"] == "Apply" else { return entry }
                    var entry = entry
                    entry["operation"] = "Update"
                    return entry
                }
            )
            object.predicted?["metadata"]?["managedFields"] = nil
        }
    }

    /// The facts as if the server had not been asked what it would make of a manifest.
    package static func withoutPredictions(_ facts: TargetFacts) -> TargetFacts {
        mapObjects(facts) { object in
            object.predicted = nil
            // Of what was read the server's word was about the base's manifest alone.
            if object.live != nil { object.problem = nil }
        }
    }

    private static func mapObjects(_ facts: TargetFacts, _ change: (inout ObservedObject) -> Void) -> TargetFacts {
        guard case .cluster(let objects) = facts.facts else { return facts }
        var facts = facts
        facts.facts = .cluster(
            objects.mapValues { object in
                var object = object
                change(&object)
                return object
            }
        )
        return facts
    }
}

extension ClusterReading {
    /// - Parameter objects: As they were read for other manifests.
    fileprivate func predictAgain(_ objects: inout [String: ObservedObject]) async throws(APIFailure) {
        let kinds = ServedKinds(facts: objects, declared: declared)
        for object in declared {
            guard let known = objects[object.key], let api = kinds.api(object) else { continue }
            // Whether it was the reading that was refused, or the other manifest, can't be told any more.
            objects[object.key] = known.live == nil && known.problem != nil ? try await get(object, api) : ObservedObject(live: known.live)
        }
        try await predict(&objects, kinds)
    }
}
