import Values

extension Readiness {
    @Sendable static func claim(_ object: Value) -> Readiness {
        switch object[path: "status", "phase"]?.stringValue {
        case "Bound": .ready
        case "Lost": .failed("its volume is lost")
        case let phase:
            .waiting("not bound to a volume yet (\(phase ?? "Pending")); some storage classes wait for the first pod")
        }
    }

    @Sendable static func service(_ object: Value) -> Readiness {
        guard object[path: "spec", "type"] == "LoadBalancer" else { return .ready }
        let ingress = object[path: "status", "loadBalancer", "ingress"]?.arrayValue ?? []
        return ingress.isEmpty ? .waiting("no load balancer has given it an address yet") : .ready
    }

    @Sendable static func namespace(_ object: Value) -> Readiness {
        switch object[path: "status", "phase"]?.stringValue {
        case "Active": .ready
        case "Terminating": .waiting("it is being deleted")
        default: .waiting("it is not active yet")
        }
    }

    @Sendable static func definition(_ object: Value) -> Readiness {
        if let names = object.condition("NamesAccepted"), !names.isTrue { return .failed("its names are taken: \(names.words)") }
        guard let established = object.condition("Established") else { return .waiting("not established yet") }
        return established.isTrue ? .ready : .waiting("not established yet: \(established.words)")
    }

    @Sendable static func apiService(_ object: Value) -> Readiness {
        guard let available = object.condition("Available") else { return .waiting("not available yet") }
        return available.isTrue ? .ready : .waiting("not available: \(available.words)")
    }
}
