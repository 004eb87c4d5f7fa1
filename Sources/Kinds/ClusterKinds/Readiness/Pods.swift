import Values

extension Readiness {
    @Sendable static func pod(_ object: Value) -> Readiness {
        switch object[path: "status", "phase"]?.stringValue {
        case "Succeeded": return .ready
        case "Failed":
            let message = object[path: "status", "message"]?.stringValue ?? object[path: "status", "reason"]?.stringValue
            return .failed("the pod has failed\(message.map { ": \($0)" } ?? "")")
        case "Running":
            if let ready = object.condition("Ready"), ready.isTrue { return .ready }
            let containers = object[path: "status", "containerStatuses"]?.arrayValue ?? []
            return .waiting("\(containers.count { $0["ready"] == true }) of \(containers.count) containers ready\(trouble(containers))")
        default:
            if let scheduled = object.condition("PodScheduled"), !scheduled.isTrue { return .waiting("not scheduled: \(scheduled.words)") }
            let containers =
                (object[path: "status", "initContainerStatuses"]?.arrayValue ?? [])
                + (object[path: "status", "containerStatuses"]?.arrayValue ?? [])
            return .waiting("its containers have not started yet\(trouble(containers))")
        }
    }

    /// `ImagePullBackOff` and the like: what somebody has to look into.
    private static func trouble(_ containers: [Value]) -> String {
        for container in containers {
            guard let reason = container[path: "state", "waiting", "reason"]?.stringValue,
                !["ContainerCreating", "PodInitializing"].contains(reason)
            else { continue }
            return "; container \(container["name"]?.stringValue ?? ""): \(reason)"
        }
        return ""
    }

    @Sendable static func job(_ object: Value) -> Readiness {
        if let failed = object.condition("Failed"), failed.isTrue { return .failed("the job has failed: \(failed.words)") }
        if let complete = object.condition("Complete"), complete.isTrue { return .ready }
        if object[path: "spec", "suspend"] == true { return .waiting("it is suspended") }
        let wanted = object[path: "spec", "completions"]?.intValue ?? 1
        return .waiting("\(object.count("succeeded")) of \(wanted) completions, \(object.count("failed")) failed")
    }
}
