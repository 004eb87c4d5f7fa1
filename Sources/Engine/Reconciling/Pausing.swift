package import DriftDetection
package import ResourceModel
import YAML

extension Drift {
    /// Holds what is paused and not as declared; it keeps its differences. What is as declared, and what is a problem already, stays as it is.
    ///
    /// - Parameters:
    ///   - pauses: Those that are active: from `plumb pause`, and from the targets themselves.
    ///   - desired: May hold pauses of its own.
    package mutating func hold(_ pauses: [Pause], _ desired: DesiredState) {
        let everywhere = pauses + desired.pauses
        let declared = DeclaredInstructions(desired) { $0.pause != nil }
        guard !everywhere.isEmpty || !declared.isEmpty else { return }
        for index in resources.indices {
            switch resources[index].standing {
            case .inSync, .problem: continue
            case .missing, .differs, .surplus: break
            }
            let drift = resources[index]
            guard let pause = everywhere.pause(of: drift.address) ?? declared.of(drift).lazy.compactMap(\.pause).first else { continue }
            resources[index].standing = .problem(.held, pause.message(leaving: drift.differenceWords))
            resources[index].isPaused = true
        }
    }

    /// Says of each resource how long it has to differ before the continuous mode acts: as its spec has it, else its kind.
    package mutating func noteSettle(_ desired: DesiredState, kinds: [RegisteredKind]) {
        let declared = DeclaredInstructions(desired) { $0.settle != nil }
        let kindsByName = Dictionary(kinds.map { ($0.name, $0) }) { first, _ in first }
        for index in resources.indices where resources[index].standing != .inSync {
            let drift = resources[index]
            resources[index].settle = declared.of(drift).compactMap(\.settle).max() ?? kindsByName[drift.handler]?.settle(drift.address) ?? .zero
        }
    }
}

/// The instructions of specs, found by what came of them: a spec may have become several resources (a chain glob) under other addresses, which
/// share its origin.
private struct DeclaredInstructions {
    private struct Place: Hashable {
        var target: String
        var origin: SourcePosition
    }

    private var all: [DesiredResource.Instructions] = []
    private var byAddress: [ResourceAddress: [Int]] = [:]
    private var byOrigin: [Place: [Int]] = [:]

    init(_ desired: DesiredState, where isMeant: (DesiredResource.Instructions) -> Bool) {
        guard desired.resources.contains(where: { isMeant($0.instructions) }) else { return }
        for (index, resource) in desired.resources.enumerated() {
            all.append(resource.instructions)
            byAddress[resource.address, default: []].append(index)
            for origin in resource.origins { byOrigin[Place(target: resource.address.target, origin: origin), default: []].append(index) }
        }
    }

    var isEmpty: Bool { all.isEmpty }

    /// Of what is declared at its address, else around it (`…/wlan0` for `…/wlan0/persist`), else in the documents that it came of.
    func of(_ drift: ResourceDrift) -> [DesiredResource.Instructions] {
        if all.isEmpty { return [] }
        if let exact = byAddress[drift.address] { return exact.map { all[$0] } }
        var resource = drift.address.resource[...]
        while let slash = resource.lastIndex(of: "/") {
            resource = resource[..<slash]
            if let outer = byAddress[ResourceAddress(target: drift.address.target, resource: String(resource))] { return outer.map { all[$0] } }
        }
        let found = drift.origins.flatMap { byOrigin[Place(target: drift.address.target, origin: $0)] ?? [] }
        return Set(found).sorted().map { all[$0] }
    }
}
