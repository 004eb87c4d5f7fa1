import ResourceModel

extension SpecDecoder {
    /// Reads a field that must be there; says so where it is missing, and nothing more where it is wrong.
    mutating func required<Result>(_ field: String, _ read: (inout SpecDecoder) -> Result?) -> Result? {
        let mistakes = diagnostics.count
        if let result = read(&self) { return result }
        if diagnostics.count == mistakes { report("missing field '\(path.isEmpty ? field : "\(path).\(field)")'", at: position) }
        return nil
    }
}
