package import Planning
package import ResourceModel
import Values

/// What has to be so that nothing of Plumb is left of held settings, put like specs, so that it is planned and carried out as they are.
package struct Releasing: Sendable {
    /// What is given up, in the order of the addresses.
    package var settings: [HeldSetting]
    package var desired: DesiredState
    /// What remains on the hosts, a line each.
    package var stays: [String]

    package init(_ settings: [HeldSetting], restores: Bool, targets: [Target], kinds: [RegisteredKind]) {
        self.settings = settings.sorted { $0.address < $1.address }
        let kindsByName = Dictionary(kinds.map { ($0.name, $0) }) { first, _ in first }
        var resources: [ResourceAddress: DesiredResource] = [:]
        stays = []
        for setting in self.settings {
            let what = kindsByName[setting.handler]?.relinquish(setting, restores) ?? Relinquishment(stays: setting.words)
            if !what.stays.isEmpty { stays.append("\(setting.address): \(what.stays)") }
            for assertion in what.assertions {
                let address = ResourceAddress(target: setting.address.target, resource: assertion.resource)
                var resource =
                    resources[address]
                    ?? DesiredResource(kind: setting.kind, handler: setting.handler, address: address, fields: [:], origins: [])
                for (key, value) in assertion.fields.objectValue ?? [:] { resource.fields[key] = value }
                resources[address] = resource
            }
        }
        desired = DesiredState(targets: targets, resources: resources.values.sorted { $0.address < $1.address }, contentHash: "release")
    }

    /// What is given up once the plan was carried out: all of which nothing is left to do.
    package func givenUp(after plan: Plan, succeeded: Set<ResourceAddress>) -> [HeldSetting] {
        let broken = Set(plan.problems.filter { $0.address == nil }.map(\.target))
        let stuck = Set(plan.problems.compactMap(\.address)).union(plan.actions.map(\.address).filter { !succeeded.contains($0) })
        return settings.filter { !broken.contains($0.address.target) && !stuck.contains($0.address) }
    }
}
