package import ResourceModel
import YAML

/// Everything that was compared, and everything that could not be.
package struct Drift: Sendable {
    /// In the order of their addresses; each address once.
    package var resources: [ResourceDrift]
    /// Targets that could not be asked. What is wrong with a single resource is that resource's standing.
    package var targetProblems: [Problem]
    package var notes: [String]
    /// Of each target that answered, what makes it the machine or cluster it is.
    package var identities: [String: String]
    /// Of each target, the inventory that says what is held there, where it could be read.
    package var inventories: [String: String] = [:]
    /// What something here depends on, at targets that are looked at by themselves: not as declared there yet.
    package var waitedFor: Set<ResourceAddress> = []

    package init(resources: [ResourceDrift] = [], targetProblems: [Problem] = [], notes: [String] = [], identities: [String: String] = [:]) {
        self.resources = resources
        self.targetProblems = targetProblems
        self.notes = notes
        self.identities = identities
    }
}

/// Compares desired with observed. Synchronous, total, deterministic.
package func detectDrift(desired: DesiredState, observed: ObservedState, kinds: [RegisteredKind]) -> Drift {
    let kindsByName = Dictionary(kinds.map { ($0.name, $0) }) { first, _ in first }
    var drift = Drift(notes: desired.notes)
    for (target, resources) in desired.resourcesByTarget() {
        switch observed.targets[target.name] {
        case .observed(let facts):
            drift.identities[target.name] = facts.identity
            drift.inventories[target.name] = facts.inventory
            drift.notes += facts.notes
            drift.resources += detectDrift(resources: resources, facts: facts, kinds: kindsByName)
        case .failed(let problem):
            if case .host(let host) = target, host.availability == .intermittent, problem.status == .unreachable {
                drift.notes.append("\(host.name) is away (availability: intermittent): \(problem.message)")
            } else {
                drift.targetProblems.append(problem)
            }
        case nil:
            drift.targetProblems.append(
                Problem(target: target.name, status: .unknown, message: "was not asked; this is a mistake in Plumb, please report it")
            )
        }
    }
    drift.notes += cloneNotes(drift.identities, targets: desired.targets)
    drift.resolveDependencies(of: desired)
    return drift
}

/// Compares what is asked of one target with its facts.
package func detectDrift(resources: [DesiredResource], facts: TargetFacts, kinds: [String: RegisteredKind]) -> [ResourceDrift] {
    var found: [ResourceDrift] = []
    for (handler, resources) in Dictionary(grouping: resources, by: \.handler).sorted(by: { $0.key < $1.key }) {
        if let kind = kinds[handler] {
            found += kind.detect(resources, facts)
        } else {
            found += resources.map {
                ResourceDrift(
                    address: $0.address,
                    kind: $0.kind,
                    handler: handler,
                    standing: .problem(.invalid, "no kind is registered for '\(handler)'")
                )
            }
        }
    }
    let declared = Set(resources.map(\.address)).union(found.map(\.address))
    let undeclared = facts.owned.filter { !declared.contains($0.address) }
    for (handler, owned) in Dictionary(grouping: undeclared, by: \.handler).sorted(by: { $0.key < $1.key }) {
        found += (kinds[handler]?.undeclared(owned, facts) ?? []).map { drift in
            var drift = drift
            drift.isUndeclared = true
            return drift
        }
    }
    // A kind that answers twice for one address keeps its first answer: an address is an identity everywhere after this.
    var seen: Set<ResourceAddress> = []
    return found.sorted { $0.address < $1.address }.filter { seen.insert($0.address).inserted }
}

extension Drift {
    /// Turns dependencies between specs into dependencies between what was found.
    ///
    /// A spec may have become several resources (a chain glob) under other addresses. What came of one document shares its origin,
    /// so a dependency on a declared address means all that came of its document at that target.
    fileprivate mutating func resolveDependencies(of desired: DesiredState) {
        let declared = desired.resources.filter { !$0.dependsOn.isEmpty }
        guard !declared.isEmpty else { return }

        var indexByAddress: [ResourceAddress: Int] = [:]
        var indicesByOrigin: [DeclaredPlace: [Int]] = [:]
        for (index, resource) in resources.enumerated() {
            indexByAddress[resource.address] = index
            for origin in resource.origins {
                indicesByOrigin[DeclaredPlace(target: resource.address.target, origin: origin), default: []].append(index)
            }
        }
        let desiredByAddress = Dictionary(desired.resources.map { ($0.address, $0) }) { first, _ in first }

        func indices(of resource: DesiredResource) -> Set<Int> {
            var result = Set(
                resource.origins.flatMap { indicesByOrigin[DeclaredPlace(target: resource.address.target, origin: $0)] ?? [] }
            )
            if let index = indexByAddress[resource.address] { result = result.filter { resources[$0].handler == resource.handler }.union([index]) }
            return result
        }

        for resource in declared {
            let needed = resource.dependsOn.flatMap { address -> [ResourceAddress] in
                guard let dependency = desiredByAddress[address] else { return [address] }
                let found = indices(of: dependency).map { resources[$0].address }
                // Nothing was found where the target could not be asked; the address stays, so that planning sees it is missing.
                return found.isEmpty ? [address] : found
            }
            for index in indices(of: resource) {
                let known = Set(resources[index].dependsOn)
                resources[index].dependsOn += Set(needed).subtracting(known).sorted().filter { $0 != resources[index].address }
            }
        }
    }
}

private struct DeclaredPlace: Hashable {
    var target: String
    var origin: SourcePosition
}
