import ResourceModel
import Values

extension NetworkInterface {
    /// What the steps in NetworkInterface+Steps run for this spec, whatever is found on the host.
    static func addRights(for resource: DesiredResource, to rights: inout [SudoRight], _ mayDisconnect: inout [String], _ notes: inout [String]) {
        guard let interface = resource.fields["interface"]?.stringValue, isSafeName(interface), let settings = Settings(resource.fields) else {
            return
        }
        let purpose = resource.address.resource
        for arguments in settings.arguments { rights.append(SudoRight(["ip", "link", "set", "dev", interface] + arguments, for: purpose)) }
        if settings.mtu != nil { mayDisconnect.append("\(purpose) mtu") }
        for flag in [Flag.up, .arp, .multicast] where settings.flags[flag] == false { mayDisconnect.append("\(purpose) \(flag.path): false") }
        guard let persist = resource.fields["persist"]?.boolValue else { return }
        let unit = Unit(interface: interface, settings: settings)
        let new = "\(unit.path).plumb-new"
        let commands =
            persist
            ? [
                ["tee", new], ["chmod", "0644", new], ["mv", "-f", new, unit.path], ["systemctl", "daemon-reload"],
                ["systemctl", "enable", "--quiet", unit.name],
            ]
            : [["rm", "-f", "\(Unit.folder)/\(unit.wantedLink)"], ["rm", "-f", unit.path], ["systemctl", "daemon-reload"]]
        for command in commands { rights.append(SudoRight(command, for: "\(purpose)/persist")) }
        if persist {
            notes.append("\(purpose)/persist writes a unit of systemd, which can have root run anything: that is as much as all of root's rights.")
        }
    }
}
