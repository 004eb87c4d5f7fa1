import ResourceModel

extension IptablesChain {
    /// What the probe and the steps run for this spec: all rules are read, in both backends, and a payload that only a spec can make goes in.
    static func addRights(for resource: DesiredResource, to rights: inout [SudoRight], _ mayDisconnect: inout [String]) {
        guard let declaration = Declaration(resource) else { return }
        for backend in Backend.allCases {
            let family = declaration.family
            let tool = "\(family.command)-\(backend.rawValue)"
            rights.append(SudoRight(["\(tool)-save"], for: "IptablesChain: reads the rules of \(family.rawValue)"))
            rights.append(SudoRight(["\(tool)-restore", "-w", "5", "--noflush"], for: "IptablesChain: changes the rules of \(family.rawValue)"))
        }
        rights.append(SudoRight(["nft", "monitor"], for: "IptablesChain: hears of changes at once ('plumb run')"))
        let words = "\(resource.address.resource) references: remove"
        if declaration.references == .remove, !mayDisconnect.contains(words) { mayDisconnect.append(words) }
    }
}
