package import ResourceModel
import Values
import YAML

/// The runtime flags and the MTU of a network interface, and whether they come back after a reboot or when its driver is loaded again.
///
/// | field | meaning | default |
/// |---|---|---|
/// | `interfaces` | names, up to 15 characters each | required |
/// | `missing` | `blocked`: an interface that is not there is a problem; `skip`: it is a note | blocked |
/// | `flags` | `up`, `promiscuous`, `allMulticast`, `multicast`, `arp`: true or false | not asserted |
/// | `mtu` | bytes, 68 to 65535 | not asserted |
/// | `persist` | true: our device-bound systemd unit has these flags and this MTU; false: there is no such unit | not asserted |
///
/// Flags are what `ip link set` sets and `ip` shows. The bits in sysfs are the *effective* state, which a packet socket or a bridge raises too.
/// Persistence is a fact of its own with an address of its own, `NetworkInterface/wlan0/persist`; it follows the runtime state, so that a change
/// which cuts us off is not there any more after a reboot.
package enum NetworkInterface {
    package static let name = "NetworkInterface"

    package static let kind = RegisteredKind(
        name: name,
        decode: { decode(&$0) },
        probe: probe,
        detect: { detect($0, $1) },
        change: { change($0) },
        declares: { declares($0, $1, $2) },
        relinquish: { relinquish($0, restores: $1) }
    )

    enum Flag: String, CaseIterable, Hashable {
        // The order in which they are set: an interface goes up when all else is as it should be.
        case arp, multicast, allMulticast, promiscuous, up

        /// What follows `ip link set dev NAME`.
        func arguments(_ isOn: Bool) -> [String] {
            switch self {
            case .arp: ["arp", isOn ? "on" : "off"]
            case .multicast: ["multicast", isOn ? "on" : "off"]
            case .allMulticast: ["allmulticast", isOn ? "on" : "off"]
            case .promiscuous: ["promisc", isOn ? "on" : "off"]
            case .up: [isOn ? "up" : "down"]
            }
        }

        var path: String { "flags.\(rawValue)" }
    }

    enum Missing: String, CaseIterable, Hashable {
        case blocked, skip
    }

    /// What can be set with `ip link`. nil: not asserted.
    struct Settings: Hashable {
        var flags: [Flag: Bool] = [:]
        /// Bytes.
        var mtu: Int?

        var isEmpty: Bool { flags.isEmpty && mtu == nil }

        /// In the order in which they are set: what each adds to `ip link set dev NAME`.
        var arguments: [[String]] {
            (mtu.map { [["mtu", String($0)]] } ?? []) + Flag.allCases.compactMap { flag in flags[flag].map { flag.arguments($0) } }
        }

        init(flags: [Flag: Bool] = [:], mtu: Int? = nil) {
            self.flags = flags
            self.mtu = mtu
        }

        /// nil: not what `value` writes.
        init?(_ value: Value) {
            for (name, isOn) in value["flags"]?.objectValue ?? [:] {
                guard let flag = Flag(rawValue: name), let isOn = isOn.boolValue else { return nil }
                flags[flag] = isOn
            }
            if let mtu = value["mtu"] {
                guard let bytes = mtu.intValue, mtuRange.contains(Int(bytes)) else { return nil }
                self.mtu = Int(bytes)
            }
        }

        var value: Value {
            var value: Value = [:]
            if !flags.isEmpty { value["flags"] = .object(Dictionary(uniqueKeysWithValues: flags.map { ($0.key.rawValue, .bool($0.value)) })) }
            if let mtu { value["mtu"] = .int(Int64(mtu)) }
            return value
        }
    }

    /// Bytes: the least that IPv4 asks for, and the most that the kernel's own default limit allows.
    static let mtuRange = 68...65535

    static func isSafeName(_ name: String) -> Bool {
        guard (1...15).contains(name.utf8.count), !name.hasPrefix("-"), name != ".", name != ".." else { return false }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            default: "_.:@-".utf8.contains(byte)
            }
        }
    }

    static func decode(_ decoder: inout SpecDecoder) -> [DeclaredSetting] {
        let interfaces = decodeNames(&decoder)
        let missing = decoder.choice("missing", of: Missing.self)
        var positions: [String: SourcePosition] = ["interface": decoder.position(of: "interfaces")]
        var settings = Settings()
        let flags = decoder.nested("flags") { flags -> ([Flag: Bool], [String: SourcePosition]) in
            var values: [Flag: Bool] = [:]
            var places: [String: SourcePosition] = [:]
            for flag in Flag.allCases {
                guard let isOn = flags.bool(flag.rawValue) else { continue }
                values[flag] = isOn
                places[flag.path] = flags.position(of: flag.rawValue)
            }
            return (values, places)
        }
        if let flags {
            settings.flags = flags.0
            positions.merge(flags.1) { $1 }
        }
        settings.mtu = decoder.int("mtu", in: mtuRange)
        let persist = decoder.bool("persist")
        for field in ["missing", "mtu", "persist"] { positions[field] = decoder.declaredPosition(of: field) }
        if settings.isEmpty, decoder.diagnostics.isEmpty {
            if persist == nil {
                decoder.report("nothing is asserted", at: decoder.position, fix: "Give at least one of: flags, mtu, persist.")
            } else if persist == true {
                decoder.report("'persist: true' without flags or mtu", at: decoder.position(of: "persist"), fix: "Say what shall persist.")
            }
        }
        var fields = settings.value
        if let missing { fields["missing"] = .string(missing.rawValue) }
        if let persist { fields["persist"] = .bool(persist) }
        return interfaces.map { interface in
            fields["interface"] = .string(interface)
            return DeclaredSetting(resource: "\(name)/\(interface)", fields: fields, positions: positions)
        }
    }

    private static func decodeNames(_ decoder: inout SpecDecoder) -> [String] {
        guard let texts = decoder.required("interfaces", { $0.strings("interfaces") }) else { return [] }
        if texts.isEmpty { decoder.report("'interfaces' is empty", at: decoder.position(of: "interfaces"), fix: "Name at least one interface.") }
        var names: [String] = []
        for (text, position) in texts {
            if !isSafeName(text) {
                decoder.report(
                    "'\(text)' is no name of an interface",
                    at: position,
                    fix: "A name is 1 to 15 of A-Z, a-z, 0-9 and _ . : @ -, and does not begin with '-'."
                )
            } else if names.contains(text) {
                decoder.report("the interface '\(text)' is listed twice", at: position)
            } else {
                names.append(text)
            }
        }
        return names
    }
}
