import Values

extension Readiness {
    @Sendable static func deployment(_ object: Value) -> Readiness {
        if let progress = object.condition("Progressing"), progress.reason == "ProgressDeadlineExceeded" { return .failed(progress.words) }
        guard object[path: "status", "observedGeneration"] != nil else { return .waiting("its controller has not seen it yet") }
        let wanted = object[path: "spec", "replicas"]?.intValue ?? 1
        let (updated, ready, all) = (object.count("updatedReplicas"), object.count("readyReplicas"), object.count("replicas"))
        if updated < wanted { return .waiting("\(updated) of \(wanted) replicas updated") }
        if ready < wanted { return .waiting("\(ready) of \(wanted) replicas ready\(failure(object))") }
        if all > updated { return .waiting("\(all - updated) old replicas still run") }
        let available = object.count("availableReplicas")
        return available < wanted ? .waiting("\(available) of \(wanted) replicas available") : .ready
    }

    /// Why pods can't even be made: a quota, a missing service account.
    private static func failure(_ object: Value) -> String {
        guard let failure = object.condition("ReplicaFailure"), failure.isTrue else { return "" }
        return "; \(failure.words)"
    }

    @Sendable static func replicaSet(_ object: Value) -> Readiness {
        guard object[path: "status", "observedGeneration"] != nil else { return .waiting("its controller has not seen it yet") }
        let wanted = object[path: "spec", "replicas"]?.intValue ?? 1
        let ready = object.count("readyReplicas")
        return ready < wanted ? .waiting("\(ready) of \(wanted) replicas ready\(failure(object))") : .ready
    }

    @Sendable static func statefulSet(_ object: Value) -> Readiness {
        guard object[path: "status", "observedGeneration"] != nil else { return .waiting("its controller has not seen it yet") }
        let wanted = object[path: "spec", "replicas"]?.intValue ?? 1
        let ready = object.count("readyReplicas")
        if ready < wanted { return .waiting("\(ready) of \(wanted) replicas ready") }
        let strategy = object[path: "spec", "updateStrategy"]
        // With OnDelete pods are replaced by hand, whenever that is.
        if strategy?["type"] == "OnDelete" { return .ready }
        let partition = strategy?[path: "rollingUpdate", "partition"]?.intValue ?? 0
        let due = max(0, wanted - partition)
        let updated = object.count("updatedReplicas")
        if updated < due { return .waiting("\(updated) of \(due) replicas updated") }
        let (current, update) = (object[path: "status", "currentRevision"], object[path: "status", "updateRevision"])
        return partition == 0 && current != update ? .waiting("the update is not finished") : .ready
    }

    @Sendable static func daemonSet(_ object: Value) -> Readiness {
        guard object[path: "status", "observedGeneration"] != nil else { return .waiting("its controller has not seen it yet") }
        let wanted = object.count("desiredNumberScheduled")
        let updated = object.count("updatedNumberScheduled")
        if object[path: "spec", "updateStrategy", "type"] != "OnDelete", updated < wanted {
            return .waiting("\(updated) of \(wanted) nodes updated")
        }
        let ready = object.count("numberReady")
        return ready < wanted ? .waiting("ready on \(ready) of \(wanted) nodes") : .ready
    }
}
