"""The findings that a radiologist may name beside those of the bundle."""

from __future__ import annotations

from storage.review_records import CodedFinding

CATALOGUE = {
    coded.name: coded
    for coded in (
        CodedFinding("pneumonia", "233604007", "SCT", "Pneumonia"),
        CodedFinding("infiltration", "112121", "DCM", "Infiltrate"),
        CodedFinding("atelectasis", "46621007", "SCT", "Atelectasis"),
        CodedFinding("pleural_effusion", "60046008", "SCT", "Pleural effusion"),
        CodedFinding("nodule_or_mass", "309529002", "SCT", "Lung mass"),
        CodedFinding("lung_nodule", "786838002", "SCT", "Lung nodule"),
        CodedFinding("pneumothorax", "36118008", "SCT", "Pneumothorax"),
        CodedFinding("pulmonary_oedema", "19242006", "SCT", "Pulmonary edema"),
        CodedFinding("consolidation", "95436008", "SCT", "Lung consolidation"),
        CodedFinding("cardiomegaly", "8186001", "SCT", "Cardiomegaly"),
        CodedFinding("emphysema", "87433001", "SCT", "Pulmonary emphysema"),
        CodedFinding("fibrosis", "51615001", "SCT", "Fibrosis of lung"),
        CodedFinding("tuberculosis", "154283005", "SCT", "Pulmonary tuberculosis"),
        CodedFinding("covid_19", "840539006", "SCT", "COVID-19"),
    )
}
"""By key. The codes are SNOMED CT's and DICOM's (PS3.16 annex D)."""
