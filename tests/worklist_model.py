"""The Modality Worklist Information Model as data (PS3.4 table K.6-1), and MPPS (F.7.2-1).

A line is an attribute: `>` for each sequence that it is in, its tag, its type, its keyword.
A `+` includes the rows of a macro one level deeper (PS3.3 tables 8.8-1, 10-1, 10-11, 10-17).
Of the modules whose other attributes may be asked for as well, those are named, type 3.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_MACROS = {
    "Code": """
        (0008,0100) 1C CodeValue
        (0008,0102) 1C CodingSchemeDesignator
        (0008,0103) 1C CodingSchemeVersion
        (0008,0104) 1 CodeMeaning
    """,
    "Person": """
        (0040,1101) 1 PersonIdentificationCodeSequence
        +Code
        (0008,0080) 1C InstitutionName
    """,
    "Instance": """
        (0008,1150) 1 ReferencedSOPClassUID
        (0008,1155) 1 ReferencedSOPInstanceUID
    """,
    "Designator": """
        (0040,0031) 1C LocalNamespaceEntityID
        (0040,0032) 1C UniversalEntityID
        (0040,0033) 1C UniversalEntityIDType
    """,
    "Patient ID": """
        (0010,0020) 1 PatientID
        (0010,0021) 3 IssuerOfPatientID
        (0010,0022) 1 TypeOfPatientID
        (0010,0024) 3 IssuerOfPatientIDQualifiersSequence
        +Designator
    """,
    "Content": """
        (0040,A040) 1 ValueType
        (0040,A043) 1 ConceptNameCodeSequence
        +Code
        (0040,A160) 1C TextValue
        (0040,A168) 1C ConceptCodeSequence
        +Code
    """,
}

WORKLIST_TABLE = """
Scheduled Procedure Step
(0040,0100) 1 ScheduledProcedureStepSequence
>(0040,0001) 1 ScheduledStationAETitle
>(0040,0002) 1 ScheduledProcedureStepStartDate
>(0040,0003) 1 ScheduledProcedureStepStartTime
>(0008,0060) 1 Modality
>(0040,0006) 2 ScheduledPerformingPhysicianName
>(0040,000B) 3 ScheduledPerformingPhysicianIdentificationSequence
>+Person
>(0040,0007) 1C ScheduledProcedureStepDescription
>(0040,0008) 1C ScheduledProtocolCodeSequence
>+Code
>>(0040,0440) 3 ProtocolContextSequence
>>+Content
>(0018,990C) 3 ReferencedDefinedProtocolSequence
>+Instance
>(0018,990D) 3 ReferencedPerformedProtocolSequence
>+Instance
>(0040,0010) 2 ScheduledStationName
>(0040,0011) 2 ScheduledProcedureStepLocation
>(0040,0012) 2C PreMedication
>(0040,0009) 1 ScheduledProcedureStepID
>(0032,1070) 2C RequestedContrastAgent
>(0040,0020) 3 ScheduledProcedureStepStatus
>(0040,0004) 3 ScheduledProcedureStepEndDate
>(0040,0005) 3 ScheduledProcedureStepEndTime
>(0040,0400) 3 CommentsOnTheScheduledProcedureStep
>(0010,2210) 3 AnatomicalOrientationType
>(2200,0005) 3 BarcodeValue

Requested Procedure
(0040,1001) 1 RequestedProcedureID
(0032,1060) 1C RequestedProcedureDescription
(0032,1064) 1C RequestedProcedureCodeSequence
+Code
(0020,000D) 1 StudyInstanceUID
(0008,0020) 3 StudyDate
(0008,0030) 3 StudyTime
(0008,1110) 2 ReferencedStudySequence
+Instance
(0040,1003) 2 RequestedProcedurePriority
(0040,1004) 2 PatientTransportArrangements
(0040,1002) 3 ReasonForTheRequestedProcedure
(0040,100A) 3 ReasonForRequestedProcedureCodeSequence
+Code
(0040,1400) 3 RequestedProcedureComments
(0040,1005) 3 RequestedProcedureLocation
(0040,1008) 3 ConfidentialityCode
(0040,1009) 3 ReportingPriority
(0040,1010) 3 NamesOfIntendedRecipientsOfResults
(0040,1011) 3 IntendedRecipientsOfResultsIdentificationSequence
+Person

Imaging Service Request
(0008,0050) 2 AccessionNumber
(0008,0051) 3 IssuerOfAccessionNumberSequence
+Designator
(0032,1032) 2 RequestingPhysician
(0032,1031) 3 RequestingPhysicianIdentificationSequence
+Person
(0008,0090) 2 ReferringPhysicianName
(0008,0096) 3 ReferringPhysicianIdentificationSequence
+Person
(0040,2016) 3 PlacerOrderNumberImagingServiceRequest
(0040,0026) 3 OrderPlacerIdentifierSequence
+Designator
(0040,2017) 3 FillerOrderNumberImagingServiceRequest
(0040,0027) 3 OrderFillerIdentifierSequence
+Designator
(0040,2400) 3 ImagingServiceRequestComments
(0032,1033) 3 RequestingService
(0032,1034) 3 RequestingServiceCodeSequence
+Code
(0040,2004) 3 IssueDateOfImagingServiceRequest
(0040,2005) 3 IssueTimeOfImagingServiceRequest
(0040,2008) 3 OrderEnteredBy
(0040,2009) 3 OrderEntererLocation
(0040,2010) 3 OrderCallbackPhoneNumber
(0040,2011) 3 OrderCallbackTelecomInformation

Visit Identification
(0038,0010) 2 AdmissionID
(0038,0014) 3 IssuerOfAdmissionIDSequence
+Designator
(0008,0080) 3 InstitutionName
(0008,0081) 3 InstitutionAddress
(0008,0082) 3 InstitutionCodeSequence
+Code
(0008,1040) 3 InstitutionalDepartmentName
(0008,1041) 3 InstitutionalDepartmentTypeCodeSequence
+Code
(0032,1066) 3 ReasonForVisit
(0032,1067) 3 ReasonForVisitCodeSequence
+Code
(0038,0060) 3 ServiceEpisodeID
(0038,0062) 3 ServiceEpisodeDescription
(0038,0064) 3 IssuerOfServiceEpisodeIDSequence
+Designator

Visit Status
(0038,0300) 2 CurrentPatientLocation
(0038,0008) 3 VisitStatusID
(0038,0400) 3 PatientInstitutionResidence
(0038,4000) 3 VisitComments

Visit Relationship
(0008,1120) 2 ReferencedPatientSequence
+Instance

Visit Admission
(0008,0092) 3 ReferringPhysicianAddress
(0008,0094) 3 ReferringPhysicianTelephoneNumbers
(0008,009C) 3 ConsultingPhysicianName
(0008,009D) 3 ConsultingPhysicianIdentificationSequence
+Person
(0008,1080) 3 AdmittingDiagnosesDescription
(0008,1084) 3 AdmittingDiagnosesCodeSequence
+Code
(0038,0016) 3 RouteOfAdmissions
(0038,0020) 3 AdmittingDate
(0038,0021) 3 AdmittingTime

Patient Relationship
(0008,1125) 3 ReferencedVisitSequence
+Instance

Patient Identification
(0010,0010) 1 PatientName
(0010,0020) 1 PatientID
(0010,0021) 3 IssuerOfPatientID
(0010,0022) 3 TypeOfPatientID
(0010,0024) 3 IssuerOfPatientIDQualifiersSequence
+Designator
(0010,1002) 3 OtherPatientIDsSequence
+Patient ID
(0010,1001) 3 OtherPatientNames
(0010,1005) 3 PatientBirthName
(0010,1060) 3 PatientMotherBirthName
(0010,1090) 3 MedicalRecordLocator
(0010,1100) 3 ReferencedPatientPhotoSequence

Patient Demographic
(0010,0030) 2 PatientBirthDate
(0010,0040) 2 PatientSex
(0010,0101) 3 PatientPrimaryLanguageCodeSequence
+Code
(0010,1030) 2 PatientWeight
(0010,1020) 3 PatientSize
(0010,1021) 3 PatientSizeCodeSequence
+Code
(0010,1010) 3 PatientAge
(0010,1022) 3 PatientBodyMassIndex
(0010,1023) 3 MeasuredAPDimension
(0010,1024) 3 MeasuredLateralDimension
(0010,0032) 3 PatientBirthTime
(0010,0033) 3 PatientBirthDateInAlternativeCalendar
(0010,0035) 3 PatientAlternativeCalendar
(0010,0050) 3 PatientInsurancePlanCodeSequence
+Code
(0010,1040) 3 PatientAddress
(0010,1080) 3 MilitaryRank
(0010,1081) 3 BranchOfService
(0010,2150) 3 CountryOfResidence
(0010,2152) 3 RegionOfResidence
(0010,2154) 3 PatientTelephoneNumbers
(0010,2155) 3 PatientTelecomInformation
(0010,2160) 3 EthnicGroup
(0010,2161) 3 EthnicGroupCodeSequence
+Code
(0010,2180) 3 Occupation
(0010,21F0) 3 PatientReligiousPreference
(0010,4000) 3 PatientComments
(0010,2201) 3 PatientSpeciesDescription
(0010,2202) 3 PatientSpeciesCodeSequence
+Code
(0010,2203) 3 PatientSexNeutered
(0010,2292) 3 PatientBreedDescription
(0010,2293) 3 PatientBreedCodeSequence
+Code
(0010,2294) 3 BreedRegistrationSequence
(0010,2297) 3 ResponsiblePerson
(0010,2298) 3 ResponsiblePersonRole
(0010,2299) 3 ResponsibleOrganization
(0040,3001) 2 ConfidentialityConstraintOnPatientDataDescription

Patient Medical
(0038,0500) 2 PatientState
(0010,21C0) 2 PregnancyStatus
(0010,2000) 2 MedicalAlerts
(0010,2110) 2 Allergies
(0038,0050) 2 SpecialNeeds
(0038,0100) 3 PertinentDocumentsSequence
(0010,21A0) 3 SmokingStatus
(0010,21B0) 3 AdditionalPatientHistory
(0010,21D0) 3 LastMenstrualDate
"""

# As N-CREATE has them to be; the first half is what an SCP may insist on (table F.7.2-1).
MPPS_TABLE = """
Relationship
(0040,0270) 1 ScheduledStepAttributesSequence
>(0020,000D) 1 StudyInstanceUID
>(0008,1110) 2 ReferencedStudySequence
>+Instance
>(0008,0050) 2 AccessionNumber
>(0040,1001) 2 RequestedProcedureID
>(0032,1060) 2 RequestedProcedureDescription
>(0040,0009) 2 ScheduledProcedureStepID
>(0040,0007) 2 ScheduledProcedureStepDescription
>(0040,0008) 2 ScheduledProtocolCodeSequence
>+Code
(0010,0010) 2 PatientName
(0010,0020) 2 PatientID
(0010,0030) 2 PatientBirthDate
(0010,0040) 2 PatientSex
(0008,1120) 2 ReferencedPatientSequence
+Instance

Information
(0040,0253) 1 PerformedProcedureStepID
(0040,0241) 1 PerformedStationAETitle
(0040,0242) 2 PerformedStationName
(0040,0243) 2 PerformedLocation
(0040,0244) 1 PerformedProcedureStepStartDate
(0040,0245) 1 PerformedProcedureStepStartTime
(0040,0252) 1 PerformedProcedureStepStatus
(0040,0254) 2 PerformedProcedureStepDescription
(0040,0255) 2 PerformedProcedureTypeDescription
(0008,1032) 2 ProcedureCodeSequence
+Code
(0040,0250) 2 PerformedProcedureStepEndDate
(0040,0251) 2 PerformedProcedureStepEndTime

Acquisition
(0008,0060) 1 Modality
(0020,0010) 2 StudyID
(0040,0260) 2 PerformedProtocolCodeSequence
+Code
(0040,0340) 2 PerformedSeriesSequence
>(0008,1050) 2 PerformingPhysicianName
>(0018,1030) 1 ProtocolName
>(0008,1070) 2 OperatorsName
>(0020,000E) 1 SeriesInstanceUID
>(0008,103E) 2 SeriesDescription
>(0008,0054) 2 RetrieveAETitle
>(0008,1140) 2 ReferencedImageSequence
>+Instance
>(0040,0220) 2 ReferencedNonImageCompositeSOPInstanceSequence
>+Instance
"""

_LINE = re.compile(r"(>*)\((\w{4}),(\w{4})\) (1C|2C|[123]) (\w+)")
_INCLUDED = re.compile(r"(>*)\+(.+)")


class Row(NamedTuple):
    """An attribute: the keywords of the sequences that it is in, then its own."""

    module: str
    path: tuple[str, ...]
    tag: int
    type: str

    @property
    def keyword(self) -> str:
        return self.path[-1]


def rows(table: str) -> list[Row]:
    """Read a table."""
    return list(_rows(table))


def _rows(table: str) -> Iterator[Row]:
    module = ""
    above: list[str] = []
    for line in filter(None, map(str.strip, table.splitlines())):
        if found := _LINE.fullmatch(line):
            depth = len(found[1])
            above = [*above[:depth], found[5]]
            yield Row(module, tuple(above), int(found[2] + found[3], 16), found[4])
        elif found := _INCLUDED.fullmatch(line):
            sequence = above[: len(found[1]) + 1]
            for row in _rows(_MACROS[found[2]]):
                yield Row(module, (*sequence, *row.path), row.tag, row.type)
        else:
            module = line


WORKLIST = rows(WORKLIST_TABLE)
MPPS = rows(MPPS_TABLE)
