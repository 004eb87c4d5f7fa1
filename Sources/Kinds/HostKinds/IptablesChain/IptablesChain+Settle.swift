import ResourceModel

extension IptablesChain {
    /// Chains that come and go by themselves, by how their names begin, and how long one has to be there before it counts as left over.
    ///
    /// Cilium's agent renames its chains to `OLD_CILIUM_…` when it starts, fills new ones, and deletes the old ones once traffic has moved over. Only
    /// those that an agent did not get to delete are leftovers.
    static let passing: [(prefix: String, settle: Duration)] = [("OLD_CILIUM_", .seconds(60))]

    /// `IptablesChain/FAMILY-BACKEND-TABLE-NAME`; a pattern that matched nothing, `IptablesChain/TABLE-PATTERN`, never differs.
    static func settle(_ address: ResourceAddress) -> Duration {
        guard let parts = address.resource.split(separator: "/", maxSplits: 1).last?.split(separator: "-", maxSplits: 3), parts.count == 4 else {
            return .zero
        }
        return passing.first { parts[3].hasPrefix($0.prefix) }?.settle ?? .zero
    }
}
