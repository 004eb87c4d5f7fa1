package import ResourceModel
import Values

extension NetworkInterface {
    private static let persistSuffix = "/persist"

    /// One spec speaks for the runtime settings and, where it has `persist`, for the unit.
    static func declares(_ resource: DesiredResource, _ address: ResourceAddress, _ path: String) -> Bool {
        guard resource.address.target == address.target else { return false }
        if address.resource == "\(resource.address.resource)\(persistSuffix)" { return resource.fields["persist"] != nil }
        guard address == resource.address, let settings = Settings(resource.fields) else { return false }
        return path == "mtu" ? settings.mtu != nil : settings.flags.keys.contains { $0.path == path }
    }

    /// Our unit goes; the interface stays as it is, or becomes what it was.
    static func relinquish(_ held: HeldSetting, restores: Bool) -> Relinquishment {
        let isUnit = held.address.resource.hasSuffix(persistSuffix)
        let resource = isUnit ? String(held.address.resource.dropLast(persistSuffix.count)) : held.address.resource
        let interface = String(resource.dropFirst("\(name)/".count))
        guard resource.hasPrefix("\(name)/"), isSafeName(interface) else { return Relinquishment(stays: held.words) }
        var fields: Value = ["interface": .string(interface), "missing": .string(Missing.skip.rawValue)]
        if isUnit {
            fields["persist"] = false
            return Relinquishment(assertions: [.init(resource: resource, fields: fields)])
        }
        guard restores else { return Relinquishment(stays: held.words) }
        var before = Settings()
        var left: [HeldSetting.Field] = []
        for field in held.fields {
            let flag = Flag.allCases.first { $0.path == field.path }
            if let flag, let isOn = field.before?.boolValue {
                before.flags[flag] = isOn
            } else if field.path == "mtu", let mtu = field.before?.intValue, mtuRange.contains(Int(mtu)) {
                before.mtu = Int(mtu)
            } else {
                left.append(field)
            }
        }
        var stays = held
        stays.fields = left
        guard !before.isEmpty else { return Relinquishment(stays: held.words) }
        for (key, value) in before.value.objectValue ?? [:] { fields[key] = value }
        return Relinquishment(assertions: [.init(resource: resource, fields: fields)], stays: left.isEmpty ? "" : stays.words)
    }

    /// Our units on a host, each as a setting that could be given up, known to the inventory or not.
    package static func units(_ facts: TargetFacts, at target: String) -> [HeldSetting] {
        guard let output = try? HostFacts(facts).output(of: "interface-units"), let units = try? Units(output) else { return [] }
        let names = units.contents.keys + units.wanted.compactMap { $0.split(separator: "/").last.map(String.init) }
        return Set(names.compactMap(interface(ofUnit:))).sorted().map { interface in
            HeldSetting(
                address: ResourceAddress(target: target, resource: "\(name)/\(interface)\(persistSuffix)"),
                kind: name,
                handler: name,
                fields: [.init(path: "persist", before: false, applied: true)]
            )
        }
    }

    /// The reverse of `Unit.name`; nil: no unit of ours.
    private static func interface(ofUnit name: String) -> String? {
        guard name.hasPrefix(Unit.prefix), name.hasSuffix(".service") else { return nil }
        var rest = name.dropFirst(Unit.prefix.count).dropLast(".service".count).utf8[...]
        var bytes: [UInt8] = []
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                bytes.append(byte)
                continue
            }
            let code = UInt8(String(decoding: rest.dropFirst().prefix(2), as: UTF8.self), radix: 16)
            guard rest.popFirst() == UInt8(ascii: "x"), let code else { return nil }
            rest = rest.dropFirst(2)
            bytes.append(code)
        }
        let interface = String(decoding: bytes, as: UTF8.self)
        return isSafeName(interface) && Unit(interface: interface, settings: Settings()).name == name ? interface : nil
    }
}
