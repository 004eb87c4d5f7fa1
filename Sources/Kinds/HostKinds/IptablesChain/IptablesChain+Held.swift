import ResourceModel

extension IptablesChain {
    /// A pattern speaks for every chain that it matches: `IptablesChain/ipv4-nft-nat-NAME`.
    static func declares(_ resource: DesiredResource, _ address: ResourceAddress) -> Bool {
        guard resource.address.target == address.target, let declaration = Declaration(resource) else { return false }
        return Backend.allCases.contains { backend in
            let start = "\(name)/\(declaration.family.rawValue)-\(backend.rawValue)-\(declaration.table.rawValue)-"
            return address.resource.hasPrefix(start) && declaration.pattern.matches(String(address.resource.dropFirst(start.count)))
        }
    }

    /// Nothing of ours is on the host.
    static func relinquish(_ held: HeldSetting, restores: Bool) -> Relinquishment {
        Relinquishment(stays: restores ? "\(held.words); a chain and its rules can't be brought back" : held.words)
    }
}
